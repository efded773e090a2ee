//! The cookie that keeps a client at its endpoint (RFC 6265): what it says, and how it is set.
//!
//! A cookie names an endpoint, or, where sessions are spread anew when endpoints come (`balanced`), a key and its Backend: the
//! endpoint follows from the key by rendezvous hashing, so that a new one gets its share of the sessions and no other moves.

use crate::balance::random;
use crate::control::objects::Affinity;

/// What a request's cookie says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Session {
    Endpoint(u64),
    Key { key: u64, backend: u64 },
}

impl Session {
    pub fn parse(value: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(value).ok()?;
        let number = |text: &str| u64::from_str_radix(text, 16).ok();
        match text.split_once('-') {
            Some((key, backend)) => Some(Self::Key { key: number(key)?, backend: number(backend)? }),
            None => number(text).map(Self::Endpoint),
        }
    }

    pub fn value(self) -> String {
        match self {
            Self::Endpoint(identity) => format!("{identity:016x}"),
            Self::Key { key, backend } => format!("{key:016x}-{backend:016x}"),
        }
    }
}

pub fn backend_hash(id: &str) -> u64 {
    random::hash_bytes(id.as_bytes())
}

/// The whole Set-Cookie line. `tls`: the request came over TLS.
pub fn write(affinity: &Affinity, name: &str, value: &str, tls: bool, line: &mut Vec<u8>) {
    use std::io::Write;
    let path = if affinity.path.starts_with('/') { &affinity.path } else { "/" };
    let _ = write!(line, "Set-Cookie: {name}={value}; Path={path}; HttpOnly");
    if !affinity.domain.is_empty() {
        let _ = write!(line, "; Domain={}", affinity.domain);
    }
    let same_site = if affinity.same_site.is_empty() { "Lax" } else { &affinity.same_site };
    let _ = write!(line, "; SameSite={same_site}");
    if affinity.secure == "always" || (affinity.secure.is_empty() && tls) {
        line.extend_from_slice(b"; Secure");
    }
    if affinity.partitioned {
        line.extend_from_slice(b"; Partitioned");
    }
    if affinity.max_age_seconds > 0 {
        let _ = write!(line, "; Max-Age={}", affinity.max_age_seconds);
    }
    line.extend_from_slice(b"\r\n");
}
