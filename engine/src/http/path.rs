//! Paths as they are compared: percent escapes decoded once, empty elements merged, as nginx' locations see them.
//!
//! Promises: what a backend may take for another path is compared as that path: `/%61dmin`, `//admin` and `/a%2Fb` meet the
//! Routes of `/admin` and `/a/b`; the target itself is forwarded as it came. Refuses (400): dot segments in any spelling
//! (`/..`, `/%2e%2E`, `/..%2f`, `/..;x`, with `\` for `/`), escapes that are none, an encoded NUL.

use std::borrow::Cow;

use super::request::Refused;

const fn bad(reason: &'static str) -> Refused {
    Refused { status: 400, reason }
}

/// The path that Routes are compared with. `raw` is a target without its query.
pub fn normal(raw: &[u8]) -> Result<Cow<'_, [u8]>, Refused> {
    let mut before = 0;
    let plain = raw.iter().all(|&b| {
        let plain = b != b'%' && b != b'\\' && !(before == b'/' && (b == b'/' || b == b'.'));
        before = b;
        plain
    });
    if plain {
        return Ok(Cow::Borrowed(raw));
    }
    let mut path = Vec::with_capacity(raw.len());
    let mut walk = Walk::new(raw);
    while let Some(byte) = walk.step()? {
        path.push(byte);
    }
    if path.split(|b| *b == b'/' || *b == b'\\').any(is_dots) {
        return Err(bad("the request's path has dot segments"));
    }
    Ok(Cow::Owned(path))
}

/// `.` or `..`, also with the parameters that some servers cut off.
fn is_dots(segment: &[u8]) -> bool {
    let name = segment.split(|b| *b == b';').next().unwrap_or_default();
    name == b"." || name == b".."
}

/// A Route's own path in the form of `normal`; what is no escape stands for itself.
pub fn of_route(value: &str) -> Vec<u8> {
    let mut path = Vec::with_capacity(value.len());
    let mut rest = value.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let (byte, used) = if first == b'%' { escaped(rest).map_or((first, 1), |b| (b, 3)) } else { (first, 1) };
        rest = if used == 1 { tail } else { &rest[used..] };
        if !(byte == b'/' && path.last() == Some(&b'/')) {
            path.push(byte);
        }
    }
    path
}

/// What follows the first `length` bytes of the normal form, as it came.
pub fn rest(raw: &[u8], length: usize) -> &[u8] {
    let mut walk = Walk::new(raw);
    for _ in 0..length {
        if !matches!(walk.step(), Ok(Some(_))) {
            return b"";
        }
    }
    &raw[walk.at..]
}

/// Appends a path in its normal form as a target may have it.
pub fn encode(path: &[u8], output: &mut Vec<u8>) {
    for &byte in path {
        if (0x21..0x7f).contains(&byte) && !b"#%?".contains(&byte) {
            output.push(byte);
        } else {
            output.extend_from_slice(format!("%{byte:02X}").as_bytes());
        }
    }
}

fn escaped(text: &[u8]) -> Option<u8> {
    let hex = |at: usize| text.get(at).and_then(|b| (*b as char).to_digit(16));
    Some((hex(1)? * 16 + hex(2)?) as u8)
}

struct Walk<'a> {
    raw: &'a [u8],
    at: usize,
    last: u8,
}

impl<'a> Walk<'a> {
    fn new(raw: &'a [u8]) -> Self {
        Self { raw, at: 0, last: 0 }
    }

    fn step(&mut self) -> Result<Option<u8>, Refused> {
        loop {
            let Some(&first) = self.raw.get(self.at) else { return Ok(None) };
            let (byte, used) = match first {
                b'%' => (escaped(&self.raw[self.at..]).ok_or(bad("the request's path has a malformed escape"))?, 3),
                _ => (first, 1),
            };
            if byte == 0 {
                return Err(bad("the request's path has a NUL"));
            }
            self.at += used;
            if byte == b'/' && self.last == b'/' {
                continue;
            }
            self.last = byte;
            return Ok(Some(byte));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_one_path_are_one() {
        for (raw, wanted) in [
            ("/admin", "/admin"),
            ("/%61dmin", "/admin"),
            ("//admin///x", "/admin/x"),
            ("/a%2Fb", "/a/b"),
            ("/a/%2Fb", "/a/b"),
            ("/%2561", "/%61"),
            ("/.well-known/x", "/.well-known/x"),
            ("/a..b/...", "/a..b/..."),
            ("*", "*"),
        ] {
            assert_eq!(normal(raw.as_bytes()).unwrap(), wanted.as_bytes(), "{raw}");
        }
    }

    #[test]
    fn what_could_climb_or_lie_is_refused() {
        for raw in [
            "/..",
            "/a/../b",
            "/a/./b",
            "/%2e%2E/b",
            "/a%2f..%2fb",
            "/a/..%2fb",
            "/a/..;/b",
            "/a/.;x=1/b",
            "/a\\..\\b",
            "/a%5c..",
            "/%00",
            "/%zz",
            "/a%",
            "/a%4",
        ] {
            assert!(normal(raw.as_bytes()).is_err(), "{raw}");
        }
    }

    #[test]
    fn a_routes_own_path_takes_the_same_form() {
        assert_eq!(of_route("/caf%C3%A9//x"), "/café/x".as_bytes());
        assert_eq!(of_route("/100%"), b"/100%");
    }

    #[test]
    fn the_rest_stays_as_it_came() {
        assert_eq!(rest(b"/%66oo/a%2Fb", 4), b"/a%2Fb");
        assert_eq!(rest(b"//foo//b", 4), b"//b");
        assert_eq!(rest(b"/foo", 4), b"");
        assert_eq!(rest(b"/foo", 9), b"");
        let mut out = Vec::new();
        encode("/a b/é?%".as_bytes(), &mut out);
        assert_eq!(out, b"/a%20b/%C3%A9%3F%25");
    }
}
