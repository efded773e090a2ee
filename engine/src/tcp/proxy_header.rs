//! The PROXY protocol, versions 1 and 2, as a Listener receives it (haproxy.org, proxy-protocol.txt).
//!
//! Promises: the header is required where the Listener says so; a connection without one, or with a malformed one, is
//! closed. LOCAL and UNKNOWN keep the connection's own addresses.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::peek::Seen;

const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// The longest header that is looked at; version 2 may carry that much of TLVs and no more here.
pub const MAX_BYTES: usize = 4096;

/// A header's length, and the client's address where it names one.
pub fn parse(bytes: &[u8]) -> io::Result<Seen<(usize, Option<SocketAddr>)>> {
    let same = bytes.iter().zip(SIGNATURE).take_while(|(a, b)| a == b).count();
    if same == SIGNATURE.len() {
        return version2(bytes);
    }
    if same == bytes.len() {
        return Ok(Seen::More);
    }
    version1(bytes)
}

fn malformed<T>() -> io::Result<T> {
    Err(io::Error::new(io::ErrorKind::InvalidData, "not a PROXY header"))
}

fn version1(bytes: &[u8]) -> io::Result<Seen<(usize, Option<SocketAddr>)>> {
    let prefix = b"PROXY ";
    let n = bytes.len().min(prefix.len());
    if bytes[..n] != prefix[..n] {
        return malformed();
    }
    let Some(end) = bytes.windows(2).take(106).position(|w| w == b"\r\n") else {
        return if bytes.len() < 107 { Ok(Seen::More) } else { malformed() };
    };
    let line = std::str::from_utf8(&bytes[..end]).or_else(|_| malformed())?;
    let words: Vec<_> = line.split(' ').collect();
    let source = match words[..] {
        ["PROXY", "UNKNOWN", ..] => None,
        ["PROXY", family, source, _, port, _] => {
            let address: IpAddr = source.parse().or_else(|_| malformed())?;
            if address.is_ipv4() != (family == "TCP4") || !["TCP4", "TCP6"].contains(&family) {
                return malformed();
            }
            Some(SocketAddr::new(address, port.parse().or_else(|_| malformed())?))
        }
        _ => return malformed(),
    };
    Ok(Seen::Whole((end + 2, source)))
}

fn version2(bytes: &[u8]) -> io::Result<Seen<(usize, Option<SocketAddr>)>> {
    let Some(head) = bytes.get(12..16) else { return Ok(Seen::More) };
    let length = usize::from(u16::from_be_bytes([head[2], head[3]]));
    if head[0] >> 4 != 2 || 16 + length > MAX_BYTES {
        return malformed();
    }
    let Some(rest) = bytes.get(16..16 + length) else { return Ok(Seen::More) };
    let source = match (head[0] & 15, head[1] >> 4) {
        (0, _) | (1, 0 | 3) => None,
        (1, 1) if length >= 12 => {
            let address: [u8; 4] = rest[..4].try_into().or_else(|_| malformed())?;
            Some(SocketAddr::new(Ipv4Addr::from(address).into(), u16::from_be_bytes([rest[8], rest[9]])))
        }
        (1, 2) if length >= 36 => {
            let address: [u8; 16] = rest[..16].try_into().or_else(|_| malformed())?;
            Some(SocketAddr::new(Ipv6Addr::from(address).into(), u16::from_be_bytes([rest[32], rest[33]])))
        }
        _ => return malformed(),
    };
    Ok(Seen::Whole((16 + length, source)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(bytes: &[u8]) -> Option<(usize, Option<String>)> {
        match parse(bytes).ok()? {
            Seen::Whole((n, source)) => Some((n, source.map(|s| s.to_string()))),
            Seen::More => Some((0, None)),
        }
    }

    #[test]
    fn headers_of_both_versions() {
        let line = b"PROXY TCP4 1.2.3.4 5.6.7.8 1000 80\r\nGET";
        assert_eq!(whole(line), Some((36, Some("1.2.3.4:1000".into()))));
        assert!((1..36).all(|n| whole(&line[..n]) == Some((0, None))), "every prefix waits for more");
        assert_eq!(whole(b"PROXY UNKNOWN\r\n"), Some((15, None)));
        let mut binary = SIGNATURE.to_vec();
        binary.extend_from_slice(&[0x21, 0x11, 0, 12, 1, 2, 3, 4, 5, 6, 7, 8, 0x03, 0xe8, 0, 80]);
        assert_eq!(whole(&binary), Some((28, Some("1.2.3.4:1000".into()))));
        assert!((1..28).all(|n| whole(&binary[..n]) == Some((0, None))));
        binary[12] = 0x20;
        assert_eq!(whole(&binary), Some((28, None)), "LOCAL");
    }

    #[test]
    fn anything_else_is_malformed() {
        let long = [b"PROXY TCP4 ".to_vec(), vec![b'1'; 200]].concat();
        for bad in
            [&b"GET / HTTP/1.1\r\n"[..], b"PROXY TCP4 ::1 ::2 1 2\r\n", b"PROXY TCP4 x y 1 2\r\n", b"PROXY\n", &long]
        {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
    }
}
