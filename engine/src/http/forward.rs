//! Writes a request's head as the backend gets it.
//!
//! Promises: fields that stay are copied as the client wrote them, in runs; X-Forwarded-For, -Proto and -Host are ours,
//! unless `trusted_hops` says that proxies of ours stand before us: then For is appended to and the others are kept.

use super::field::{self, Kind};
use super::request::Head;
use super::response::offset;
use crate::control::objects;

/// What we know of the client.
pub struct Origin<'a> {
    pub address: &'a str,
    pub scheme: &'static str,
    pub trusted_hops: u32,
}

/// What the Route changes of a request.
#[derive(Clone, Copy, Default)]
pub struct Edits<'a> {
    pub target: Option<&'a [u8]>,
    pub host: Option<&'a str>,
    pub changes: Option<&'a objects::HeaderChanges>,
}

pub fn write_head(input: &[u8], head: &Head<'_>, origin: &Origin<'_>, edits: Edits<'_>, output: &mut Vec<u8>) {
    output.extend_from_slice(head.method.as_bytes());
    output.push(b' ');
    output.extend_from_slice(edits.target.unwrap_or(head.target));
    output.extend_from_slice(b" HTTP/1.1\r\n");
    write_fields(input, head, origin, edits, output);
    if let Some(host) = edits.host {
        [b"Host: ", host.as_bytes(), b"\r\n"].iter().for_each(|part| output.extend_from_slice(part));
    } else if head.authority.is_empty() && head.http10 {
        output.extend_from_slice(b"Host: \r\n");
    }
    if head.upgrade {
        output.extend_from_slice(b"Connection: upgrade\r\n");
    }
    write_forwarded(head, origin, output);
    edits.changes.iter().for_each(|c| field::write_changes(c, output));
    output.extend_from_slice(b"\r\n");
}

fn write_fields(input: &[u8], head: &Head<'_>, origin: &Origin<'_>, edits: Edits<'_>, output: &mut Vec<u8>) {
    let drops = |i: usize| {
        let kind = head.kinds[i];
        head.drops(i)
            || (origin.trusted_hops == 0 && kind == Kind::Claim)
            || (edits.host.is_some() && kind == Kind::Host)
            || (matches!(kind, Kind::Other | Kind::Claim)
                && edits.changes.is_some_and(|c| field::replaces(c, head.headers[i].name)))
    };
    let end = head.bytes - 2;
    let begin = |i: usize| head.headers.get(i).map_or(end, |h| offset(input, h.name.as_bytes()));
    let mut run = begin(0);
    for index in 0..head.headers.len() {
        if drops(index) {
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
