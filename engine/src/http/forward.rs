//! Writes a request's head as the backend gets it.
//!
//! Promises: fields that stay are copied as the client wrote them, in runs; X-Forwarded-For, -Proto and -Host are ours,
//! unless `trusted_hops` says that proxies of ours stand before us: then For is appended to and the others are kept.

use super::field::Kind;
use super::request::Head;
use super::response::offset;

/// What we know of the client.
pub struct Origin<'a> {
    pub address: &'a str,
    pub scheme: &'static str,
    pub trusted_hops: u32,
}

pub fn write_head(input: &[u8], head: &Head<'_>, origin: &Origin<'_>, output: &mut Vec<u8>) {
    output.extend_from_slice(head.method.as_bytes());
    output.push(b' ');
    output.extend_from_slice(head.target);
    output.extend_from_slice(b" HTTP/1.1\r\n");
    write_fields(input, head, output);
    if head.authority.is_empty() && head.http10 {
        output.extend_from_slice(b"Host: \r\n");
    }
    if head.upgrade {
        output.extend_from_slice(b"Connection: upgrade\r\n");
    }
    write_forwarded(head, origin, output);
    output.extend_from_slice(b"\r\n");
}

fn write_fields(input: &[u8], head: &Head<'_>, output: &mut Vec<u8>) {
    let end = head.bytes - 2;
    let begin = |i: usize| head.headers.get(i).map_or(end, |h| offset(input, h.name.as_bytes()));
    let mut run = begin(0);
    for index in 0..head.headers.len() {
        if head.drops(index) {
            output.extend_from_slice(&input[run..begin(index)]);
            run = begin(index + 1);
        }
    }
    output.extend_from_slice(&input[run..end]);
}

fn write_forwarded(head: &Head<'_>, origin: &Origin<'_>, output: &mut Vec<u8>) {
    let trusted = origin.trusted_hops > 0;
    let incoming = |wanted: Kind| {
        head.headers.iter().zip(&head.kinds).filter(move |(_, kind)| **kind == wanted).map(|(h, _)| h.value)
    };
    output.extend_from_slice(b"X-Forwarded-For: ");
    if trusted {
        for value in incoming(Kind::ForwardedFor) {
            output.extend_from_slice(value);
            output.extend_from_slice(b", ");
        }
    }
    output.extend_from_slice(origin.address.as_bytes());
    output.extend_from_slice(b"\r\nX-Forwarded-Proto: ");
    let proto = incoming(Kind::ForwardedProto).next().filter(|_| trusted);
    output.extend_from_slice(proto.unwrap_or(origin.scheme.as_bytes()));
    let host = incoming(Kind::ForwardedHost).next().filter(|_| trusted).unwrap_or(head.authority);
    if !host.is_empty() {
        output.extend_from_slice(b"\r\nX-Forwarded-Host: ");
        output.extend_from_slice(host);
    }
    output.extend_from_slice(b"\r\n");
}
