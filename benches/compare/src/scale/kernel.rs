//! What the kernel keeps for sockets, of all processes on the machine.

use std::fs;

/// What belongs to a TCP socket that is watched with epoll. A `dentry` belongs to it, too, but most
/// of those are files'.
const CACHES: &[&str] = &["TCP", "sock_inode_cache", "filp", "eventpoll_epi"];

const PAGE: u64 = 4;

/// Objects and buffers, in KiB; none if we may not know.
pub(super) fn sockets() -> Option<u64> {
    let slabs = fs::read_to_string("/proc/slabinfo").ok()?;
    let sockets = fs::read_to_string("/proc/net/sockstat").ok()?;
    Some(objects(&slabs) / 1024 + buffers(&sockets)? * PAGE)
}

/// Bytes of objects, with their share of what is lost in a slab.
fn objects(slabinfo: &str) -> u64 {
    let lines = slabinfo.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    lines
        .filter_map(|fields| {
            // name, active, all, size, objects in a slab, pages of a slab
            let [name, active, _, _, per_slab, pages, ..] = fields[..] else { return None };
            let number = |text: &str| text.parse::<u64>().ok();
            let slab = number(pages)? * PAGE * 1024;
            CACHES.contains(&name).then_some(number(active)? * slab / number(per_slab)?.max(1))
        })
        .sum()
}

/// Pages of buffers.
fn buffers(sockstat: &str) -> Option<u64> {
    let tcp = sockstat.lines().find(|line| line.starts_with("TCP:"))?;
    tcp.rsplit_once("mem ")?.1.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_sockets_need_counts() {
        let slabs = "slabinfo - version: 2.1\n# name <active_objs> <num_objs> <objsize>\n\
            tw_sock_TCP 9 9 256 16 1 : tunables 0 0 0 : slabdata 1 1 0\n\
            TCP 13 26 2368 13 8 : tunables 0 0 0 : slabdata 2 2 0\n\
            filp 21 42 192 21 1 : tunables 0 0 0 : slabdata 2 2 0\n";
        assert_eq!(objects(slabs), 32 * 1024 + 4096);
        let sockets = "sockets: used 9\nTCP: inuse 2 orphan 0 tw 5 alloc 2 mem 2105\nUDP: inuse 0 \
            mem 3\n";
        assert_eq!(buffers(sockets), Some(2105));
    }
}
