//! The PROXY protocol, versions 1 and 2, as a Backend that wants it is told who its client is (proxy-protocol.txt).
//!
//! Promises: the header is the first thing on a connection, before TLS. A connection of our own (a check, a mirror) says so:
//! UNKNOWN and LOCAL. Addresses of different families are both written as IPv6.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

/// Client and the address that it came to; `None`: nobody but us.
pub type Ends = Option<(SocketAddr, SocketAddr)>;

pub fn header(version: u8, ends: Ends) -> Vec<u8> {
    match (version, ends.map(alike)) {
        (0, _) => Vec::new(),
        (1, None) => b"PROXY UNKNOWN\r\n".to_vec(),
        (1, Some((from, to))) => {
            let family = if from.is_ipv4() { "TCP4" } else { "TCP6" };
            format!("PROXY {family} {} {} {} {}\r\n", from.ip(), to.ip(), from.port(), to.port()).into_bytes()
        }
        (_, None) => [&SIGNATURE[..], &[0x20, 0, 0, 0]].concat(),
        (_, Some((from, to))) => {
            let (family, addresses) = match (from.ip(), to.ip()) {
                (IpAddr::V4(a), IpAddr::V4(b)) => (0x11, [a.octets(), b.octets()].concat()),
                (a, b) => (0x21, [wide(a).octets(), wide(b).octets()].concat()),
            };
            let ports = [from.port().to_be_bytes(), to.port().to_be_bytes()].concat();
            let length = (addresses.len() + ports.len()) as u16;
            [&SIGNATURE[..], &[0x21, family], &length.to_be_bytes(), &addresses, &ports].concat()
        }
    }
}

fn alike((from, to): (SocketAddr, SocketAddr)) -> (SocketAddr, SocketAddr) {
    let plain = |a: SocketAddr| SocketAddr::new(a.ip().to_canonical(), a.port());
    let (from, to) = (plain(from), plain(to));
    if from.is_ipv4() == to.is_ipv4() {
        return (from, to);
    }
    (SocketAddr::new(wide(from.ip()).into(), from.port()), SocketAddr::new(wide(to.ip()).into(), to.port()))
}

fn wide(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        IpAddr::V6(v6) => v6,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tcp::peek::Seen;
    use crate::tcp::proxy_header;

    #[test]
    fn what_we_write_we_read() {
        for (from, to) in [("1.2.3.4:5", "6.7.8.9:10"), ("[fd00::1]:5", "[fd00::2]:6"), ("1.2.3.4:5", "[fd00::2]:6")] {
            let (from, to): (SocketAddr, SocketAddr) = (from.parse().unwrap(), to.parse().unwrap());
            for version in [1, 2] {
                let written = header(version, Some((from, to)));
                let Ok(Seen::Whole((bytes, Some(source)))) = proxy_header::parse(&written) else {
                    panic!("{}", String::from_utf8_lossy(&written))
                };
                assert_eq!((bytes, source.ip().to_canonical(), source.port()), (written.len(), from.ip(), from.port()));
            }
        }
        for version in [1, 2] {
            let written = header(version, None);
            assert!(matches!(proxy_header::parse(&written), Ok(Seen::Whole((n, None))) if n == written.len()));
        }
        assert_eq!(
            header(1, Some(("1.2.3.4:5".parse().unwrap(), "6.7.8.9:10".parse().unwrap()))),
            b"PROXY TCP4 1.2.3.4 6.7.8.9 5 10\r\n"
        );
    }
}
