//! Writes a request's head as the backend gets it.
//!
//! Promises: fields that stay are copied as the client wrote them, in runs; Content-Length and Transfer-Encoding are written
//! anew where a backend could read them in another way than we did. X-Forwarded-For, -Proto and -Host are ours, unless the
//! peer is a proxy whose claims are believed: then For is appended to and the others are kept. `tell` adds others (RFC
//! 7239's Forwarded, X-Real-IP, …), which replace what came.

use std::net::IpAddr;

use super::field::{self, Kind, offset};
use super::request::{Framing, Head};
use crate::balance::random;
use crate::control::objects::{self, Tell};

/// What we know of the client.
pub struct Origin<'a> {
    /// The peer's.
    pub address: &'a str,
    /// The client's: the peer's, or what a trusted peer says.
    pub client: IpAddr,
    pub scheme: &'static str,
    /// The peer is a proxy whose claims are believed.
    pub believed: bool,
    /// The port that the client came to.
    pub port: u16,
    pub tell: &'a [Tell],
    /// For an identity of the request, where one is told.
    pub draw: u64,
}

/// What the Route changes of a request.
#[derive(Clone, Copy, Default)]
pub struct Edits<'a> {
    pub method: Option<&'a str>,
    pub target: Option<&'a [u8]>,
    pub host: Option<&'a str>,
    pub changes: Option<&'a objects::HeaderChanges>,
    /// Fields of the client's that are not passed on.
    pub drop: &'a [String],
    /// Whole lines that are added.
    pub lines: &'a [u8],
    /// Without its body, and no upgrade.
    pub bare: bool,
}

pub fn write_head(input: &[u8], head: &Head<'_>, origin: &Origin<'_>, edits: Edits<'_>, output: &mut Vec<u8>) {
    output.extend_from_slice(edits.method.unwrap_or(head.method).as_bytes());
    output.push(b' ');
    output.extend_from_slice(edits.target.unwrap_or(head.target));
    // Only HTTP/1.0 may lack a Host, and servers refuse an empty one.
    let hostless = head.authority.is_empty() && edits.host.is_none();
    output.extend_from_slice(if hostless { b" HTTP/1.0\r\n" } else { b" HTTP/1.1\r\n" });
    write_fields(input, head, origin, edits, output);
    if let Some(host) = edits.host {
        [b"Host: ", host.as_bytes(), b"\r\n"].iter().for_each(|part| output.extend_from_slice(part));
    }
    if head.upgrade && !edits.bare {
        output.extend_from_slice(b"Connection: upgrade\r\n");
    }
    write_forwarded(head, origin, output);
    output.extend_from_slice(edits.lines);
    edits.changes.iter().for_each(|c| field::write_changes(c, output));
    output.extend_from_slice(b"\r\n");
}

fn of_body(kind: Kind) -> bool {
    matches!(kind, Kind::ContentLength | Kind::TransferEncoding | Kind::Expect | Kind::Upgrade)
}

fn write_fields(input: &[u8], head: &Head<'_>, origin: &Origin<'_>, edits: Edits<'_>, output: &mut Vec<u8>) {
    let drops = |i: usize| {
        let kind = head.kinds[i];
        head.drops(i)
            || (edits.bare && of_body(kind))
            || (matches!(kind, Kind::ContentLength | Kind::TransferEncoding)
                && !field::plain_framing(input, &head.headers[i]))
            || (kind == Kind::Claim && (!origin.believed || told(origin.tell, head.headers[i].name)))
            || (kind == Kind::Other && replaced(origin.tell, head.headers[i].name))
            || edits.drop.iter().any(|name| name.eq_ignore_ascii_case(head.headers[i].name))
            || (edits.host.is_some() && kind == Kind::Host)
            || (matches!(kind, Kind::Other | Kind::Claim)
                && edits.changes.is_some_and(|c| field::replaces(c, head.headers[i].name)))
    };
    let end = head.bytes - 2;
    let begin = |i: usize| head.headers.get(i).map_or(end, |h| offset(input, h.name.as_bytes()));
    let (mut run, mut anew) = (begin(0), false);
    for index in 0..head.headers.len() {
        if drops(index) {
            anew |= !edits.bare && matches!(head.kinds[index], Kind::ContentLength | Kind::TransferEncoding);
            output.extend_from_slice(&input[run..begin(index)]);
            run = begin(index + 1);
        }
    }
    output.extend_from_slice(&input[run..end]);
    if anew {
        write_framing(head.framing, output);
    }
}

pub fn write_framing(framing: Framing, output: &mut Vec<u8>) {
    use std::io::Write;
    let _ = match framing {
        Framing::Chunked => write!(output, "Transfer-Encoding: chunked\r\n"),
        Framing::Length(length) => write!(output, "Content-Length: {length}\r\n"),
        Framing::Empty => write!(output, "Content-Length: 0\r\n"),
        Framing::UntilClose => Ok(()),
    };
}

fn write_forwarded(head: &Head<'_>, origin: &Origin<'_>, output: &mut Vec<u8>) {
    let trusted = origin.believed;
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
    for one in origin.tell {
        write_told(*one, head, origin, proto.unwrap_or(origin.scheme.as_bytes()), output);
    }
}

fn write_told(one: Tell, head: &Head<'_>, origin: &Origin<'_>, scheme: &[u8], output: &mut Vec<u8>) {
    let mut put = |parts: &[&[u8]]| parts.iter().for_each(|part| output.extend_from_slice(part));
    let client = origin.client.to_string();
    match one {
        Tell::RealIp => put(&[b"X-Real-IP: ", client.as_bytes(), b"\r\n"]),
        // A proxy whose word counts knows the port that the client came to; ours is its own business.
        Tell::Port if origin.believed && head.values(PORT).next().is_some() => {}
        Tell::Port => put(&[b"X-Forwarded-Port: ", origin.port.to_string().as_bytes(), b"\r\n"]),
        Tell::Scheme => put(&[b"X-Forwarded-Scheme: ", scheme, b"\r\nX-Scheme: ", scheme, b"\r\n"]),
        Tell::Forwarded => {
            let (open, close) = if origin.client.is_ipv6() { ("\"[", "]\"") } else { ("", "") };
            let node = format!("Forwarded: for={open}{client}{close};proto=");
            put(&[node.as_bytes(), scheme, b";host=\"", head.authority, b"\"\r\n"]);
        }
        Tell::RequestId if head.values(REQUEST_ID).next().is_none() => {
            let identity = format!("{:016x}{:016x}", origin.draw, random::mix(origin.draw));
            put(&[b"X-Request-ID: ", identity.as_bytes(), b"\r\n"]);
        }
        Tell::RequestId => {}
        Tell::OriginalUri => put(&[b"X-Original-URI: ", head.target, b"\r\n"]),
    }
}

const PORT: &str = "x-forwarded-port";
const REQUEST_ID: &str = "x-request-id";

/// Is the field one that we tell ourselves?
fn told(tell: &[Tell], name: &str) -> bool {
    let is = |wanted: &str| name.eq_ignore_ascii_case(wanted);
    tell.iter().any(|one| match one {
        Tell::Forwarded => is("forwarded"),
        Tell::RealIp => is("x-real-ip"),
        Tell::Scheme => is("x-scheme") || is("x-forwarded-scheme"),
        Tell::Port | Tell::RequestId | Tell::OriginalUri => false,
    })
}

/// Is the field one that a client may send and that we then say anew?
fn replaced(tell: &[Tell], name: &str) -> bool {
    tell.contains(&Tell::OriginalUri) && name.eq_ignore_ascii_case("x-original-uri")
}
