//! Who may come in, by address, by key, by token, by the word of another server; how much of it;
//! and whose pages may read answers.
//!
//! Pure: fields, keys and `now` in, decisions out. What a decision looks like to a client is for
//! `proxy` to say.

pub mod account;
pub mod api_key;
pub mod claims;
pub mod cors;
pub mod credentials;
pub mod digest;
pub mod forward;
pub mod gcra;
pub mod jwt;
pub mod keys;
pub mod memory;
pub mod principal;
pub mod rate;
pub mod refusal;
pub mod streams;

use std::net::IpAddr;

use crate::config::model::{Access, Network};

/// Whether a client with that address may come in; `None` is one without, behind a unix socket, who
/// is on no list.
pub fn may_come(access: &Access, address: Option<IpAddr>) -> bool {
    let listed = |list: &[Network]| address.is_some_and(|address| Network::is_among(list, address));
    !listed(&access.deny) && (access.allow.is_empty() || listed(&access.allow))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn networks(list: &[(&str, u8)]) -> Vec<Network> {
        let network = |(address, prefix): &(&str, u8)| Network {
            address: address.parse().unwrap(),
            prefix: *prefix,
        };
        list.iter().map(network).collect()
    }

    #[test]
    fn deny_wins_and_an_allow_list_shuts_everybody_else_out() {
        let inner = networks(&[("10.0.0.0", 8), ("::1", 128)]);
        let one = networks(&[("10.0.0.7", 32)]);
        for (allow, deny, address, expected) in [
            (&[][..], &[][..], Some("192.0.2.1"), true),
            (&[], &[], None, true),
            (&inner, &[], Some("10.1.2.3"), true),
            (&inner, &[], Some("::1"), true),
            (&inner, &[], Some("::ffff:10.1.2.3"), true),
            (&inner, &[], Some("192.0.2.1"), false),
            (&inner, &[], None, false),
            (&inner, &one, Some("10.0.0.7"), false),
            (&inner, &one, Some("10.0.0.8"), true),
            (&[], &one, Some("10.0.0.7"), false),
            (&[], &one, Some("10.0.0.8"), true),
            (&[], &one, None, true),
        ] {
            let access = Access { allow: allow.to_vec(), deny: deny.to_vec() };
            let address = address.map(|text| text.parse().unwrap());
            assert_eq!(may_come(&access, address), expected, "{address:?}: {access:?}");
        }
    }
}
