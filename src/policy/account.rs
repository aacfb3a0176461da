//! Whose requests count together.

use std::net::{IpAddr, Ipv6Addr};

use super::digest::Digest;
use super::principal::Principal;

/// One client, as limits know it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub enum Account {
    /// Somebody who has proved who they are, by [`Principal::digest`].
    Principal(Digest),
    /// Somebody at an address; see [`Account::at`].
    Address(IpAddr),
    /// Somebody of whom nothing is known. They all share.
    Nobody,
}

impl Account {
    /// By who they are, else by address.
    pub fn new(principal: Option<&Principal>, address: Option<IpAddr>) -> Self {
        principal.map_or_else(|| Self::at(address), |who| Self::Principal(who.digest()))
    }

    /// By address. Of an IPv6 address only the first 64 bits count: that is the smallest network
    /// there is (RFC 4291 §2.5.4), and whoever has one has 2^64 addresses to come from.
    pub fn at(address: Option<IpAddr>) -> Self {
        match address.map(|address| address.to_canonical()) {
            None => Self::Nobody,
            Some(IpAddr::V6(v6)) => {
                let network = v6.to_bits() & (u128::MAX << 64);
                Self::Address(Ipv6Addr::from_bits(network).into())
            }
            Some(v4) => Self::Address(v4),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(address: &str) -> Account {
        Account::at(Some(address.parse().unwrap()))
    }

    #[test]
    fn who_is_who() {
        assert!(at("2001:db8:0:1::1") == at("2001:db8:0:1:ffff::2"), "one network");
        assert!(at("2001:db8:0:1::1") != at("2001:db8:0:2::1"));
        assert!(at("192.0.2.1") != at("192.0.2.2"));
        assert!(at("::ffff:192.0.2.1") == at("192.0.2.1"));
        assert!(Account::at(None) == Account::Nobody);
        let address = Some("192.0.2.1".parse().unwrap());
        let named = |name: &str| Account::new(Principal::new(name.as_bytes()).as_ref(), address);
        assert!(named("192.0.2.1") != at("192.0.2.1"), "a name is no address");
        assert!(named("zoë") != named("zoé"), "although logs show the same");
        assert!(named("eve") == named("eve"));
    }
}
