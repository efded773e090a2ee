//! Distinguished names as text (RFC 4514, as OpenSSL's RFC 2253 form and nginx' $ssl_client_s_dn have it): last part first.
//!
//! Promises: nothing that comes in makes it panic; bytes that a header cannot carry are escaped. What is no DER ends the text.

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const OID: u8 = 0x06;

const COMMON_NAME: &[u8] = &[0x55, 4, 3];
const KNOWN: [(&[u8], &str); 9] = [
    (COMMON_NAME, "CN"),
    (&[0x55, 4, 6], "C"),
    (&[0x55, 4, 7], "L"),
    (&[0x55, 4, 8], "ST"),
    (&[0x55, 4, 9], "street"),
    (&[0x55, 4, 10], "O"),
    (&[0x55, 4, 11], "OU"),
    (&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 1], "emailAddress"),
    (&[9, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 1, 25], "DC"),
];

/// A value of the given tag at the front: its content and what follows.
fn take(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (found, content, rest) = any(der)?;
    (found == tag).then_some((content, rest))
}

fn any(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = der.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81 => (usize::from(*rest.first()?), rest.get(1..)?),
        0x82 => (usize::from(*rest.first()?) << 8 | usize::from(*rest.get(1)?), rest.get(2..)?),
        _ => return None,
    };
    Some((tag, rest.get(..length)?, rest.get(length..)?))
}

/// Its parts in the order of the certificate: type and value, as bytes.
fn parts(mut name: &[u8]) -> Vec<(&[u8], Vec<u8>)> {
    let mut found = Vec::new();
    while let Some((set, rest)) = take(name, SET) {
        name = rest;
        let mut set = set;
        while let Some((pair, more)) = take(set, SEQUENCE) {
            set = more;
            let Some((kind, rest)) = take(pair, OID) else { break };
            let Some((tag, value, _)) = any(rest) else { break };
            found.push((kind, text(tag, value)));
        }
    }
    found
}

/// A string of any ASN.1 kind as UTF-8.
fn text(tag: u8, value: &[u8]) -> Vec<u8> {
    const BMP: u8 = 0x1e;
    if tag != BMP {
        return value.to_vec();
    }
    let units: Vec<u16> = value.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect();
    String::from_utf16_lossy(&units).into_bytes()
}

/// The name's text. `name` is its DER without the outer SEQUENCE.
pub fn render(name: &[u8]) -> String {
    let mut out = String::new();
    for (kind, value) in parts(name).iter().rev() {
        if !out.is_empty() {
            out.push(',');
        }
        match KNOWN.iter().find(|(oid, _)| oid == kind) {
            Some((_, word)) => out.push_str(word),
            None => dotted(kind, &mut out),
        }
        out.push('=');
        escape(value, &mut out);
    }
    out
}

/// The common name: the last one, which is the most specific.
pub fn common_name(name: &[u8]) -> Option<Vec<u8>> {
    parts(name).into_iter().rfind(|(kind, _)| *kind == COMMON_NAME).map(|(_, value)| value)
}

fn dotted(oid: &[u8], out: &mut String) {
    use std::fmt::Write;
    let mut number: u64 = 0;
    let mut first = true;
    for byte in oid {
        number = number << 7 | u64::from(byte & 0x7f);
        if byte & 0x80 != 0 {
            continue;
        }
        if first {
            let head = (number / 40).min(2);
            let _ = write!(out, "{head}.{}", number - head * 40);
            first = false;
        } else {
            let _ = write!(out, ".{number}");
        }
        number = 0;
    }
}

fn escape(value: &[u8], out: &mut String) {
    use std::fmt::Write;
    let last = value.len().saturating_sub(1);
    for (at, &byte) in value.iter().enumerate() {
        match byte {
            b',' | b'+' | b'"' | b'\\' | b'<' | b'>' | b';' => out.extend(['\\', char::from(byte)]),
            b'#' if at == 0 => out.push_str("\\#"),
            b' ' if at == 0 || at == last => out.push_str("\\ "),
            0x20..=0x7e => out.push(char::from(byte)),
            _ => drop(write!(out, "\\{byte:02X}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(oid: &[u8], value: &[u8]) -> Vec<u8> {
        let pair = [&[OID, oid.len() as u8], oid, &[0x0c, value.len() as u8], value].concat();
        let pair = [&[SEQUENCE, pair.len() as u8], &pair[..]].concat();
        [&[SET, pair.len() as u8], &pair[..]].concat()
    }

    #[test]
    fn a_name_is_written_last_part_first_and_cannot_end_early() {
        let name = [part(&[0x55, 4, 10], b"Evil, CN=admin"), part(COMMON_NAME, b"me\r\n"), part(&[0x55, 4, 97], b"x")]
            .concat();
        assert_eq!(render(&name), "2.5.4.97=x,CN=me\\0D\\0A,O=Evil\\, CN=admin");
        assert_eq!(common_name(&name).unwrap(), b"me\r\n");
        for cut in 0..name.len() {
            let _ = (render(&name[..cut]), common_name(&name[..cut]));
        }
    }
}
