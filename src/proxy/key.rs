//! What an upstream with `balance = "hash"` hashes of a request, and what its queue is fair by. Pure.

use std::net::IpAddr;

use super::admit::Admitted;
use crate::config::model::{Balance, HashKey};
use crate::http1::head::RequestHead;
use crate::policy::account::Account;
use crate::upstream::balance::hash_key;

/// The key of a request, if the upstream wants one and the request has it.
pub fn of_request(
    balance: &Balance,
    head: &RequestHead,
    admitted: &Admitted,
    client: Option<IpAddr>,
) -> Option<u64> {
    let Balance::Hash(key) = balance else { return None };
    match key {
        HashKey::Header(name) => head.fields.get(name).map(hash_key),
        HashKey::Cookie(name) => cookie(head, name).map(hash_key),
        HashKey::Query(name) => {
            query(&admitted.target, name).map(|value| hash_key(value.as_bytes()))
        }
        HashKey::Ip => client.map(of_address),
        HashKey::Path => Some(hash_key(admitted.path().as_bytes())),
    }
}

/// The key of a client: what an upstream's queue is fair by.
pub fn of_account(account: &Account) -> u64 {
    match account {
        Account::Principal(digest) => hash_key(digest.as_bytes()),
        Account::Address(address) => of_address(*address),
        Account::Nobody => 0,
    }
}

fn of_address(address: IpAddr) -> u64 {
    match address.to_canonical() {
        IpAddr::V4(v4) => hash_key(&v4.octets()),
        IpAddr::V6(v6) => hash_key(&v6.octets()),
    }
}

/// RFC 6265 §4.2.1: `cookie-string = cookie-pair *( ";" SP cookie-pair )`.
fn cookie<'h>(head: &'h RequestHead, name: &str) -> Option<&'h [u8]> {
    let pairs = head.fields.all("cookie").flat_map(|value| value.split(|&byte| byte == b';'));
    pairs.map(<[u8]>::trim_ascii).find_map(|pair| {
        let rest = pair.strip_prefix(name.as_bytes())?;
        rest.strip_prefix(b"=")
    })
}

/// The value as it is written, percent-encoded or not: the same conversation writes it the same.
fn query<'t>(target: &'t str, name: &str) -> Option<&'t str> {
    let (_, query) = target.split_once('?')?;
    query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http1::head::parse_request;
    use crate::policy::principal::Principal;
    use crate::proxy::admit::admit;

    fn key(key: HashKey, text: &str) -> Option<u64> {
        let mut head = parse_request(text.as_bytes()).unwrap().unwrap().0;
        let admitted = admit(&mut head).unwrap();
        of_request(&Balance::Hash(key), &head, &admitted, Some(IpAddr::from([10, 0, 0, 1])))
    }

    const REQUEST: &str = "GET /chat?a=1&session=x%20y HTTP/1.1\r\nHost: a\r\nX-Session-Id: s\r\n\
                           Cookie: other=1; sid=c\r\nCookie: late=2\r\n\r\n";

    #[test]
    fn what_is_hashed() {
        for (what, expected) in [
            (HashKey::Header("x-session-id".into()), &b"s"[..]),
            (HashKey::Cookie("sid".into()), b"c"),
            (HashKey::Cookie("late".into()), b"2"),
            (HashKey::Query("session".into()), b"x%20y"),
            (HashKey::Query("a".into()), b"1"),
            (HashKey::Path, b"/chat"),
            (HashKey::Ip, &[10, 0, 0, 1]),
        ] {
            assert_eq!(key(what.clone(), REQUEST), Some(hash_key(expected)), "{what:?}");
        }
    }

    #[test]
    fn a_queue_is_fair_between_those_whom_limits_tell_apart() {
        let at = |text: &str| of_account(&Account::at(Some(text.parse().unwrap())));
        let named =
            |name: &str| of_account(&Account::new(Principal::new(name.as_bytes()).as_ref(), None));
        assert_eq!(at("2001:db8:0:1::1"), at("2001:db8:0:1:ffff::2"), "one network has one turn");
        assert_ne!(at("2001:db8:0:1::1"), at("2001:db8:0:2::1"));
        assert_ne!(at("192.0.2.1"), at("192.0.2.2"));
        assert_ne!(named("zoë"), named("zoé"), "although logs show the same");
    }

    #[test]
    fn what_is_not_there_is_no_key() {
        for what in [
            HashKey::Header("x-other".into()),
            HashKey::Cookie("si".into()),
            HashKey::Query("sess".into()),
        ] {
            assert_eq!(key(what.clone(), REQUEST), None, "{what:?}");
        }
    }
}
