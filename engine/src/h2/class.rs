//! What a header field of HTTP/2 is to us (RFC 9113, 8.2 and 8.3).

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    Method,
    Scheme,
    Authority,
    Path,
    Protocol,
    Status,
    Host,
    Cookie,
    ContentLength,
    Plain,
    /// Malformed, or a field that HTTP/2 does not have: the message is refused.
    Bad,
}

pub fn of(name: &[u8], value: &[u8]) -> Class {
    if !is_value(value) {
        return Class::Bad;
    }
    match name {
        b":method" => Class::Method,
        b":scheme" => Class::Scheme,
        b":authority" => Class::Authority,
        b":path" => Class::Path,
        b":protocol" => Class::Protocol,
        b":status" => Class::Status,
        b"host" => Class::Host,
        b"cookie" => Class::Cookie,
        b"content-length" => Class::ContentLength,
        b"connection" | b"keep-alive" | b"proxy-connection" | b"transfer-encoding" | b"upgrade" => Class::Bad,
        b"te" if !value.eq_ignore_ascii_case(b"trailers") => Class::Bad,
        _ if is_name(name) => Class::Plain,
        _ => Class::Bad,
    }
}

const fn names() -> [bool; 256] {
    let mut allowed = [false; 256];
    let marks = b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz";
    let mut at = 0;
    while at < marks.len() {
        allowed[marks[at] as usize] = true;
        at += 1;
    }
    allowed
}

static NAMES: [bool; 256] = names();

fn is_name(name: &[u8]) -> bool {
    !name.is_empty() && name.iter().all(|b| NAMES[usize::from(*b)])
}

/// No control characters (so no line ends), no white space around it.
fn is_value(value: &[u8]) -> bool {
    let blank = |b: Option<&u8>| matches!(b, Some(b' ' | b'\t'));
    !blank(value.first())
        && !blank(value.last())
        && value.iter().fold(true, |good, b| good & ((*b >= 0x20 && *b != 0x7f) | (*b == b'\t')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_small_tokens_and_values_have_no_line_ends() {
        assert_eq!(of(b"x-a", b"b c"), Class::Plain);
        assert_eq!(of(b"te", b"trailers"), Class::Plain);
        for (name, value) in [
            (&b"X-a"[..], &b""[..]),
            (b"", b""),
            (b"a b", b""),
            (b"a:", b""),
            (b":unknown", b""),
            (b"a", b"b\r\nc: d"),
            (b"a", b"\0"),
            (b"a", b" b"),
            (b"a", b"b\t"),
            (b"te", b"gzip"),
            (b"connection", b"close"),
            (b"transfer-encoding", b"chunked"),
            (b":path", b"/\n"),
        ] {
            assert_eq!(of(name, value), Class::Bad, "{name:?} {value:?}");
        }
    }
}
