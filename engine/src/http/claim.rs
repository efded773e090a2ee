//! Who the client is, when proxies of ours stand before us: what a header claims, as far as the proxies are trusted.
//!
//! Promises: without trust, and from a peer that is no trusted proxy, nothing is believed. With `trusted_proxies` the client
//! is the last address that is none of them (nginx' `real_ip_recursive`); with `trusted_hops` alone it is the address that the
//! outermost of so many proxies saw. What is no address ends the search: the peer before it is the client.
//! Follows RFC 7239 where the header is `Forwarded`.

use std::net::{IpAddr, SocketAddr};

use crate::control::objects::{HttpSettings, Refusal};
use crate::table::network::Network;
use crate::table::router::Request;

const DEFAULT_HEADER: &str = "x-forwarded-for";
/// More addresses than that are not looked at.
const MAX_ADDRESSES: usize = 64;

/// A Listener's trust, compiled.
#[derive(Debug, Default)]
pub struct Trust {
    hops: usize,
    proxies: Vec<Network>,
    header: String,
}

impl Trust {
    pub fn compile(settings: &HttpSettings) -> Result<Self, Refusal> {
        let header = settings.client_header.to_ascii_lowercase();
        if !header.is_empty() && !super::field::is_name(&header) {
            return Err(Refusal::new("http.client_header", "it is not a field's name"));
        }
        let proxies = Network::parse_all(&settings.trusted_proxies, "http.trusted_proxies")?;
        let header = if header.is_empty() { DEFAULT_HEADER.to_owned() } else { header };
        Ok(Self { hops: settings.trusted_hops as usize, proxies, header })
    }

    /// Are claims of this peer believed?
    pub fn believes(&self, peer: IpAddr) -> bool {
        if self.proxies.is_empty() { self.hops > 0 } else { self.proxy(peer) }
    }

    fn proxy(&self, address: IpAddr) -> bool {
        self.proxies.iter().any(|n| n.contains(address))
    }

    /// The client of a request that came from a believed peer.
    pub fn client(&self, request: &dyn Request, peer: IpAddr) -> IpAddr {
        let mut claims: Vec<Option<IpAddr>> = Vec::new();
        let mut values = Vec::new();
        request.each_header(&self.header, &mut |value| values.push(value.to_vec()));
        for value in &values {
            let forwarded = self.header == "forwarded";
            claims.extend(value.split(|b| *b == b',').map(|part| if forwarded { node(part) } else { address(part) }));
        }
        let mut found = peer;
        for (hop, claim) in claims.iter().rev().take(MAX_ADDRESSES).enumerate() {
            let Some(claim) = claim else { break };
            found = *claim;
            let last = if self.proxies.is_empty() { hop + 1 >= self.hops } else { !self.proxy(found) };
            if last {
                break;
            }
        }
        found
    }
}

/// The address in one element of X-Forwarded-For, also with a port.
fn address(text: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(text).ok()?.trim();
    let parsed = text.parse::<IpAddr>().ok().or_else(|| text.parse::<SocketAddr>().ok().map(|a| a.ip()));
    parsed.or_else(|| text.strip_prefix('[')?.strip_suffix(']')?.parse().ok()).map(|a| a.to_canonical())
}

/// The address of `for=` in one element of Forwarded.
fn node(element: &[u8]) -> Option<IpAddr> {
    let mut pairs = element.split(|b| *b == b';').map(<[u8]>::trim_ascii);
    let value = pairs.find_map(|p| p.get(..4).filter(|n| n.eq_ignore_ascii_case(b"for=")).map(|_| &p[4..]))?;
    address(value.strip_prefix(b"\"").and_then(|v| v.strip_suffix(b"\"")).unwrap_or(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_in_every_form() {
        for (text, wanted) in [
            ("1.2.3.4", Some("1.2.3.4")),
            (" 1.2.3.4:80 ", Some("1.2.3.4")),
            ("[fd00::1]:80", Some("fd00::1")),
            ("[fd00::1]", Some("fd00::1")),
            ("fd00::1", Some("fd00::1")),
            ("::ffff:1.2.3.4", Some("1.2.3.4")),
            ("unknown", None),
            ("", None),
        ] {
            assert_eq!(address(text.as_bytes()).map(|a| a.to_string()).as_deref(), wanted, "{text}");
        }
        assert_eq!(
            node(b"proto=https; For=\"[fd00::1]:4711\";by=x").map(|a| a.to_string()).as_deref(),
            Some("fd00::1")
        );
        assert_eq!(node(b"for=_hidden"), None);
    }
}
