//! The cookie that keeps a client at its endpoint (RFC 6265).

use crate::control::objects::Affinity;

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
