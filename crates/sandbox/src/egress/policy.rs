//! Where a sandbox may connect to: anywhere but to this host, to its neighbours on the link, and to the
//! services that clouds offer to the host alone.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Services for the host that lie outside link-local addresses.
const CLOUD_V4: [Ipv4Addr; 2] = [Ipv4Addr::new(100, 100, 100, 200), Ipv4Addr::new(168, 63, 129, 16)];
const CLOUD_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);

/// Whether a sandbox may reach an address, on a host that has the addresses `own`.
pub(super) fn allows(address: IpAddr, own: &[IpAddr]) -> bool {
    let plain = match address {
        IpAddr::V4(address) => allows_v4(address),
        IpAddr::V6(address) => match embedded(address) {
            Some(inner) => return allows(IpAddr::V4(inner), own),
            None => allows_v6(address),
        },
    };
    plain && !own.contains(&address)
}

fn allows_v4(address: Ipv4Addr) -> bool {
    let [first, second, ..] = address.octets();
    let never = first == 0
        || address.is_loopback()
        || address.is_link_local()
        || address.is_multicast()
        // Reserved, and the broadcast address.
        || first >= 240
        // Set aside for such uses as our own tunnels.
        || (first == 198 && second & 0xfe == 18)
        || CLOUD_V4.contains(&address);
    !never
}

fn allows_v6(address: Ipv6Addr) -> bool {
    let first = address.segments()[0];
    let never = address.is_unspecified()
        || address.is_loopback()
        || address.is_multicast()
        // Link-local, and site-local as it once was.
        || first & 0xff80 == 0xfe80
        || address == CLOUD_V6;
    !never
}

/// The IPv4 address that an IPv6 address stands for: mapped, compatible, translated (NAT64) or 6to4.
fn embedded(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let segments = address.segments();
    let join = |high: u16, low: u16| Ipv4Addr::from(u32::from(high) << 16 | u32::from(low));
    match segments {
        [0, 0, 0, 0, 0, 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => Some(join(high, low)),
        [0, 0, 0, 0, 0, 0, high, low] if high != 0 => Some(join(high, low)),
        [0x2002, high, low, ..] => Some(join(high, low)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn may(address: &str) -> bool {
        let own = ["203.0.113.7", "10.1.2.3", "2001:db8::7"].map(|own| own.parse().unwrap());
        allows(address.parse().unwrap(), &own)
    }

    #[test]
    fn the_world_and_other_machines_are_allowed() {
        for address in ["1.1.1.1", "203.0.113.8", "10.1.2.4", "192.168.1.1", "172.17.0.2", "2606:4700::1111"]
        {
            assert!(may(address), "{address}");
        }
    }

    #[test]
    fn the_host_and_its_privileges_are_not() {
        for address in [
            "127.0.0.1",
            "127.8.8.8",
            "0.0.0.0",
            "0.1.2.3",
            "203.0.113.7",
            "10.1.2.3",
            "2001:db8::7",
            "169.254.169.254",
            "100.100.100.200",
            "168.63.129.16",
            "198.18.0.1",
            "198.19.255.255",
            "224.0.0.251",
            "255.255.255.255",
            "240.0.0.1",
            "::",
            "::1",
            "fe80::1",
            "fec0::1",
            "ff02::1",
            "fd00:ec2::254",
            "::ffff:127.0.0.1",
            "::ffff:10.1.2.3",
            "::127.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b::a9fe:a9fe",
            "2002:7f00:1::1",
        ] {
            assert!(!may(address), "{address}");
        }
    }

    proptest! {
        #[test]
        fn no_spelling_of_an_own_address_is_allowed(bits: u32) {
            let address = Ipv4Addr::from(bits);
            let own = [IpAddr::V4(address)];
            let [a, b, c, d] = address.octets();
            let join = |high, low| u16::from_be_bytes([high, low]);
            let (high, low) = (join(a, b), join(c, d));
            for spelling in [
                IpAddr::V4(address),
                IpAddr::V6(address.to_ipv6_mapped()),
                IpAddr::V6(Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, high, low)),
                IpAddr::V6(Ipv6Addr::new(0x2002, high, low, 0, 0, 0, 0, 1)),
            ] {
                prop_assert!(!allows(spelling, &own));
            }
        }
    }
}
