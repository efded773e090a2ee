//! WebSocket over HTTP/2 (RFC 8441): what the handshake of HTTP/1.1 has and a stream of HTTP/2 has not.
//!
//! Promises: a client of HTTP/2 is shown as one that upgrades, with a key of ours; a backend that takes extended CONNECT as one
//! that has switched, with the answer to whatever key it was. Whatever else extended CONNECT asks for is refused (501) by
//! whoever reads the text. Follows RFC 6455, 4.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest, Sha1};

use crate::balance::random;

/// What follows a request line for a WebSocket. What comes after an answer that is none is not the next request's.
pub const ASKED: &[u8] = b"connection: close, upgrade\r\nupgrade: websocket\r\n";
/// And for any other protocol.
pub const OTHER: &[u8] = b"upgrade: unknown\r\n";
/// What a stream that a backend has opened says before its own fields.
pub const SWITCHED: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n";
pub const KEY: &str = "sec-websocket-key";
pub const ACCEPT: &str = "sec-websocket-accept";

/// It has to differ from request to request and no more than that (RFC 6455, 10.3 is about masks).
pub fn key(seed: u64) -> String {
    let first = random::mix(seed);
    STANDARD.encode([first.to_be_bytes(), random::mix(first ^ seed.rotate_left(32)).to_be_bytes()].concat())
}

/// What a server answers to a key.
pub fn accept(key: &str) -> String {
    let mut hash = Sha1::new();
    hash.update(key);
    hash.update("258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    STANDARD.encode(hash.finalize())
}

/// Has a server that switched understood the key (RFC 6455, 4.1)? `head` is its whole answer's.
pub fn is_accepted(key: &str, head: &[u8]) -> bool {
    let wanted = accept(key);
    head.split(|b| *b == b'\n').filter_map(|line| line.split_at_checked(memchr::memchr(b':', line)?)).any(
        |(name, value)| name.eq_ignore_ascii_case(ACCEPT.as_bytes()) && value[1..].trim_ascii() == wanted.as_bytes(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_differ_and_answers_are_the_rfcs() {
        assert_eq!(accept("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert_eq!((key(1).len(), key(1) == key(2)), (24, false));
    }
}
