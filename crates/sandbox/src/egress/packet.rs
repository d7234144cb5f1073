//! Packets: reading what they are, and writing the datagrams that come back.

use smoltcp::{
    phy::ChecksumCapabilities,
    wire::{
        IpAddress, IpProtocol, IpRepr, Ipv4Packet, Ipv4Repr, Ipv6Packet, Ipv6Repr, TcpPacket, UdpPacket,
        UdpRepr,
    },
};
use std::net::{IpAddr, SocketAddr};

/// From where to where.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Ends {
    pub(super) inside: SocketAddr,
    pub(super) outside: SocketAddr,
}

/// What came out of a tunnel, as far as it is served.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Kind<'a> {
    /// The first of a connection.
    TcpSyn(Ends),
    /// Any other of a connection.
    Tcp(Ends),
    Udp(Ends, &'a [u8]),
}

/// What a packet is; `None`: nothing that is served (fragments among it: packets in a tunnel are large).
pub(super) fn read(bytes: &[u8]) -> Option<Kind<'_>> {
    match bytes.first()? >> 4 {
        4 => {
            let packet = Ipv4Packet::new_checked(bytes).ok()?;
            if packet.more_frags() || packet.frag_offset() != 0 {
                return None;
            }
            let ends = (packet.src_addr().into(), packet.dst_addr().into());
            read_transport(packet.next_header(), ends, packet.payload())
        }
        6 => {
            let packet = Ipv6Packet::new_checked(bytes).ok()?;
            let ends = (packet.src_addr().into(), packet.dst_addr().into());
            read_transport(packet.next_header(), ends, packet.payload())
        }
        _ => None,
    }
}

fn read_transport(
    protocol: IpProtocol,
    (inside, outside): (IpAddr, IpAddr),
    bytes: &[u8],
) -> Option<Kind<'_>> {
    let ends =
        |from, to| Ends { inside: SocketAddr::new(inside, from), outside: SocketAddr::new(outside, to) };
    match protocol {
        IpProtocol::Tcp => {
            let packet = TcpPacket::new_checked(bytes).ok()?;
            let ends = ends(packet.src_port(), packet.dst_port());
            Some(if packet.syn() && !packet.ack() { Kind::TcpSyn(ends) } else { Kind::Tcp(ends) })
        }
        IpProtocol::Udp => {
            let packet = UdpPacket::new_checked(bytes).ok()?;
            Some(Kind::Udp(ends(packet.src_port(), packet.dst_port()), packet.payload()))
        }
        _ => None,
    }
}

/// A datagram from outside, as a packet.
pub(super) fn write_datagram(ends: &Ends, payload: &[u8]) -> Option<Vec<u8>> {
    const HOPS: u8 = 64;
    const UDP_HEADER: usize = 8;
    let checksums = ChecksumCapabilities::default();
    let udp = UdpRepr { src_port: ends.outside.port(), dst_port: ends.inside.port() };
    let payload_len = UDP_HEADER + payload.len();
    let next_header = IpProtocol::Udp;
    let ip = match (ends.outside.ip(), ends.inside.ip()) {
        (IpAddr::V4(src_addr), IpAddr::V4(dst_addr)) => {
            IpRepr::Ipv4(Ipv4Repr { src_addr, dst_addr, next_header, payload_len, hop_limit: HOPS })
        }
        (IpAddr::V6(src_addr), IpAddr::V6(dst_addr)) => {
            IpRepr::Ipv6(Ipv6Repr { src_addr, dst_addr, next_header, payload_len, hop_limit: HOPS })
        }
        _ => return None,
    };
    let mut bytes = vec![0; ip.buffer_len()];
    ip.emit(&mut bytes, &checksums);
    let (from, to) = (IpAddress::from(ends.outside.ip()), IpAddress::from(ends.inside.ip()));
    let mut packet = UdpPacket::new_unchecked(&mut bytes[ip.header_len()..]);
    udp.emit(&mut packet, &from, &to, payload.len(), |place| place.copy_from_slice(payload), &checksums);
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn datagrams_are_read_as_they_were_written() {
        for (outside, inside) in [("1.1.1.1:53", "198.18.0.2:4000"), ("[2606::1]:53", "[fd00::2]:4000")] {
            let ends = Ends { inside: outside.parse().unwrap(), outside: inside.parse().unwrap() };
            let turned = Ends { inside: ends.outside, outside: ends.inside };
            let bytes = write_datagram(&ends, b"ahoy").unwrap();
            assert_eq!(read(&bytes), Some(Kind::Udp(turned, b"ahoy")));
        }
    }

    proptest! {
        #[test]
        fn nothing_that_comes_out_of_a_tunnel_panics(bytes: Vec<u8>) {
            let _ = read(&bytes);
            for version in [0x45, 0x60] {
                let mut bytes = bytes.clone();
                if let Some(first) = bytes.first_mut() {
                    *first = version;
                }
                let _ = read(&bytes);
            }
        }
    }
}
