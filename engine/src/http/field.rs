//! Header fields that a proxy must know, and the strict forms of their values (RFC 9110, RFC 9112).

use std::borrow::Cow;

use crate::control::objects::HeaderChanges;

/// What a field is to us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Host,
    ContentLength,
    TransferEncoding,
    Connection,
    Upgrade,
    Expect,
    ForwardedFor,
    ForwardedProto,
    ForwardedHost,
    /// Says in another way who the client is and how it came (Forwarded, X-Real-IP, X-Scheme, ssl-client-verify, …); believed
    /// only behind proxies of ours.
    Claim,
    /// Belongs to one hop (Keep-Alive, Proxy-Connection, TE), or is never for a backend (Proxy: CVE-2016-5385).
    Hop,
    Other,
}

pub fn kind(name: &str) -> Kind {
    let is = |wanted: &str| name.eq_ignore_ascii_case(wanted);
    match name.len() {
        2 if is("te") => Kind::Hop,
        4 if is("host") => Kind::Host,
        5 if is("proxy") => Kind::Hop,
        6 if is("expect") => Kind::Expect,
        7 if is("upgrade") => Kind::Upgrade,
        8 if is("x-scheme") => Kind::Claim,
        9 if is("forwarded") || is("x-real-ip") => Kind::Claim,
        10 if is("connection") => Kind::Connection,
        10 if is("keep-alive") => Kind::Hop,
        14 if is("http2-settings") => Kind::Hop,
        14 if is("content-length") => Kind::ContentLength,
        15 if is("x-forwarded-for") => Kind::ForwardedFor,
        15 if is("ssl-client-cert") => Kind::Claim,
        16 if is("x-forwarded-host") => Kind::ForwardedHost,
        16 if is("x-forwarded-port") => Kind::Claim,
        16 if is("proxy-connection") => Kind::Hop,
        17 if is("transfer-encoding") => Kind::TransferEncoding,
        17 if is("x-forwarded-proto") => Kind::ForwardedProto,
        17 if is("ssl-client-verify") => Kind::Claim,
        18 if is("x-forwarded-scheme") => Kind::Claim,
        20 if is("ssl-client-issuer-dn") => Kind::Claim,
        21 if is("ssl-client-subject-dn") => Kind::Claim,
        // CGI-like backends cannot tell `X_Forwarded_For` from `X-Forwarded-For`.
        _ if name.contains('_') && kind(&name.replace('_', "-")) != Kind::Other => Kind::Hop,
        _ => Kind::Other,
    }
}

/// Digits only: no sign, no underscore, no list, no space; few enough for everybody's integers.
pub fn content_length(value: &[u8]) -> Option<u64> {
    if value.is_empty() || value.len() > 18 || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(value).ok()?.parse().ok()
}

/// A framing field exactly as everybody writes it, so that no backend reads it in another way: one space before the value,
/// none after it, no zeros before a number, `chunked` in small letters.
pub fn plain_framing(input: &[u8], header: &httparse::Header<'_>) -> bool {
    let name_end = offset(input, header.name.as_bytes()) + header.name.len();
    let start = offset(input, header.value);
    start == name_end + 2
        && input[name_end + 1] == b' '
        && input.get(start + header.value.len()) == Some(&b'\r')
        && (header.value == b"chunked" || header.value.len() == 1 || header.value[0].wrapping_sub(b'1') < 9)
}

/// Where a slice of `input` begins in it.
pub fn offset(input: &[u8], part: &[u8]) -> usize {
    part.as_ptr().addr() - input.as_ptr().addr()
}

/// The comma-separated tokens of a value, trimmed.
pub fn tokens(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|b| *b == b',').map(<[u8]>::trim_ascii).filter(|t| !t.is_empty())
}

/// `host` or `host:port`, also `[v6]:port`: characters of RFC 3986 only, nothing encoded, no user information.
pub fn is_authority(value: &[u8]) -> bool {
    let (host, port) = split_port(value);
    let good_port =
        port.is_none_or(|p| p.is_empty() || (content_length(p).is_some_and(|n| n <= 65535) && p.len() <= 5));
    let good_host = if host.first() == Some(&b'[') {
        host.last() == Some(&b']')
            && host[1..host.len() - 1].iter().all(|b| b.is_ascii_hexdigit() || *b == b':' || *b == b'.')
    } else {
        host.iter().all(|b| b.is_ascii_alphanumeric() || b"-._~!$&'()*+;=".contains(b))
    };
    good_port && good_host && !host.is_empty()
}

/// The host without its port, and the port's digits.
pub fn split_port(authority: &[u8]) -> (&[u8], Option<&[u8]>) {
    let after = authority.iter().rposition(|b| *b == b']').map_or(0, |at| at + 1);
    match authority[after..].iter().position(|b| *b == b':') {
        Some(colon) => (&authority[..after + colon], Some(&authority[after + colon + 1..])),
        None => (authority, None),
    }
}

/// Is the field removed, or set to something else?
pub fn replaces(changes: &HeaderChanges, name: &str) -> bool {
    changes.remove.iter().chain(changes.set.iter().map(|(n, _)| n)).any(|n| n.eq_ignore_ascii_case(name))
}

/// A Route's changes, and its Backend's on top of them.
pub fn changes<'a>(
    route: Option<&'a HeaderChanges>,
    backend: Option<&'a HeaderChanges>,
) -> Option<Cow<'a, HeaderChanges>> {
    let (Some(below), Some(above)) = (route, backend) else { return route.or(backend).map(Cow::Borrowed) };
    let kept = |list: &[(String, String)]| -> Vec<_> {
        list.iter().filter(|(name, _)| !replaces(above, name)).cloned().collect()
    };
    Some(Cow::Owned(HeaderChanges {
        set: [kept(&below.set), above.set.clone()].concat(),
        add: [kept(&below.add), above.add.clone()].concat(),
        remove: [below.remove.clone(), above.remove.clone()].concat(),
    }))
}

/// Writes the fields that are set or added.
pub fn write_changes(changes: &HeaderChanges, output: &mut Vec<u8>) {
    for (name, value) in changes.set.iter().chain(&changes.add) {
        for part in [name.as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
            output.extend_from_slice(part);
        }
    }
}

/// A field's name as RFC 9110 allows it.
pub fn is_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

/// A value without control characters.
pub fn is_value(value: &str) -> bool {
    value.bytes().all(|b| b == b'\t' || (b >= 0x20 && b != 0x7f))
}

/// The value of a cookie among the Cookie fields' values.
pub fn cookie<'a>(value: &'a [u8], name: &str) -> Option<&'a [u8]> {
    value.split(|b| *b == b';').map(<[u8]>::trim_ascii).find_map(|pair| {
        let rest = pair.strip_prefix(name.as_bytes())?.strip_prefix(b"=")?;
        Some(rest)
    })
}

/// Every line ends in CRLF, and no CR or LF stands alone.
pub fn strict_lines(head: &[u8]) -> bool {
    let mut lines = 0;
    for at in memchr::memchr_iter(b'\n', head) {
        if at == 0 || head[at - 1] != b'\r' {
            return false;
        }
        lines += 1;
    }
    lines == memchr::memchr_iter(b'\r', head).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_length_is_digits_only() {
        assert_eq!(content_length(b"42"), Some(42));
        for bad in [&b""[..], b"+1", b"-1", b"1_0", b" 1", b"1, 1", b"0x10", b"9223372036854775808"] {
            assert_eq!(content_length(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn authorities() {
        for good in ["a", "a.b:80", "[::1]:80", "127.0.0.1"] {
            assert!(is_authority(good.as_bytes()), "{good}");
        }
        for bad in ["", ":80", "a b", "a@b", "a:8x", "[::1", "a/b", "[]x:1", "a:1:2", "a:65536", "a%41"] {
            assert!(!is_authority(bad.as_bytes()), "{bad}");
        }
    }

    #[test]
    fn lone_line_ends_are_seen() {
        assert!(strict_lines(b"GET / HTTP/1.1\r\nA: b\r\n\r\n"));
        assert!(!strict_lines(b"GET / HTTP/1.1\nA: b\r\n\r\n"));
        assert!(!strict_lines(b"GET / HTTP/1.1\r\nA: b\rc\r\n\r\n"));
    }
}
