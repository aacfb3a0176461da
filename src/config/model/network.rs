//! IP networks, wherever the configuration has them.

use std::net::IpAddr;

/// An IP network such as `10.0.0.0/8`; a plain address is a network of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    /// The address with all host bits zero.
    pub address: IpAddr,
    /// Leading bits that count: 0 to 32 for IPv4, 0 to 128 for IPv6.
    pub prefix: u8,
}

impl Network {
    /// Whether the address lies in one of the networks; one of IPv4 may be written as IPv6.
    pub fn is_among(networks: &[Self], address: IpAddr) -> bool {
        let address = address.to_canonical();
        networks.iter().any(|network| network.contains(address))
    }

    /// Whether the address lies in the network. One of IPv4 that is written as IPv6 does not.
    fn contains(&self, address: IpAddr) -> bool {
        let (left, right, width) = match (self.address, address) {
            (IpAddr::V4(a), IpAddr::V4(b)) => {
                (u128::from(a.to_bits()), u128::from(b.to_bits()), u32::BITS)
            }
            (IpAddr::V6(a), IpAddr::V6(b)) => (a.to_bits(), b.to_bits(), u128::BITS),
            _ => return false,
        };
        let host_bits = width - u32::from(self.prefix).min(width);
        left.checked_shr(host_bits).unwrap_or(0) == right.checked_shr(host_bits).unwrap_or(0)
    }
}
