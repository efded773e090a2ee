//! Heads and trailers of HTTP/2 messages as HTTP/1.1 text (RFC 9113, 8).
//!
//! Promises: what comes out has exactly the fields that came in, one a line, behind a start line made of the pseudo-header
//! fields; cookies in one line (8.2.3). Refuses as malformed: pseudo-header fields that are missing, repeated, unknown or
//! late, fields of `Class::Bad`, lengths that are no numbers. Says `TooLarge` where the list exceeds the limit; the
//! table of the decoder is right all the same.

use super::class::Class;
use super::hpack::{self, Decoder, Line};
use super::websocket;
use crate::http::field;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// The whole connection is lost: COMPRESSION_ERROR.
    Block,
    Malformed,
    TooLarge,
}

impl From<hpack::Malformed> for Refused {
    fn from(_: hpack::Malformed) -> Self {
        Self::Block
    }
}

/// What a head says of its message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Head {
    pub status: u16,
    pub length: Option<u64>,
    pub head_method: bool,
    /// Trailers are to be expected, as gRPC has them, or as the message says.
    pub trailers: bool,
    /// It asks for a WebSocket (RFC 8441).
    pub websocket: bool,
}

/// Memory that is used again for each head.
#[derive(Default)]
pub struct Scratch {
    method: Vec<u8>,
    authority: Vec<u8>,
    path: Vec<u8>,
    protocol: Vec<u8>,
    cookie: Vec<u8>,
}

struct Reading<'a> {
    scratch: &'a mut Scratch,
    text: &'a mut Vec<u8>,
    left: usize,
    pseudo: u8,
    begun: bool,
    refused: Option<Refused>,
    head: Head,
}

const METHOD: u8 = 1;
const SCHEME: u8 = 2;
const AUTHORITY: u8 = 4;
const PATH: u8 = 8;
const STATUS: u8 = 16;
const PROTOCOL: u8 = 32;

/// Appends a request's head, without its length and the empty line, so that framing can be added.
pub fn request(
    decoder: &mut Decoder,
    block: &[u8],
    limit: usize,
    scratch: &mut Scratch,
    text: &mut Vec<u8>,
) -> Result<Head, Refused> {
    let mut reading = Reading::new(scratch, text, limit);
    decoder.decode(block, |line| reading.request_line(line))?;
    reading.begin_request();
    let Reading { scratch, text, refused, head, .. } = reading;
    if !scratch.cookie.is_empty() {
        [b"cookie: ", &scratch.cookie[..], b"\r\n"].iter().for_each(|part| text.extend_from_slice(part));
    }
    refused.map_or(Ok(head), Err)
}

/// Appends a response's head, without its length and the empty line.
pub fn response(
    decoder: &mut Decoder,
    block: &[u8],
    limit: usize,
    scratch: &mut Scratch,
    text: &mut Vec<u8>,
) -> Result<Head, Refused> {
    let mut reading = Reading::new(scratch, text, limit);
    decoder.decode(block, |line| reading.response_line(line))?;
    if reading.pseudo != STATUS || reading.head.status == 101 {
        reading.refuse();
    }
    reading.refused.map_or(Ok(reading.head), Err)
}

/// Appends trailers as lines.
pub fn trailers(
    decoder: &mut Decoder,
    block: &[u8],
    limit: usize,
    scratch: &mut Scratch,
    text: &mut Vec<u8>,
) -> Result<(), Refused> {
    let mut reading = Reading::new(scratch, text, limit);
    decoder.decode(block, |line| match line.class {
        Class::Plain | Class::Cookie | Class::Host | Class::ContentLength => reading.keep(line),
        _ => reading.refuse(),
    })?;
    reading.refused.map_or(Ok(()), Err)
}

/// Only the decoder learns of the block.
pub fn ignore(decoder: &mut Decoder, block: &[u8]) -> Result<(), Refused> {
    Ok(decoder.decode(block, |_| ())?)
}

/// Does the field say that trailers follow, or may?
fn promises_trailers(line: Line<'_>) -> bool {
    match line.name_bytes {
        7 => line.name() == b"trailer",
        12 => line.name() == b"content-type" && line.value().starts_with(b"application/grpc"),
        _ => false,
    }
}

impl<'a> Reading<'a> {
    fn new(scratch: &'a mut Scratch, text: &'a mut Vec<u8>, left: usize) -> Self {
        let Scratch { method, authority, path, protocol, cookie } = &mut *scratch;
        for kept in [method, authority, path, protocol, cookie] {
            kept.clear();
        }
        Self { scratch, text, left, pseudo: 0, begun: false, refused: None, head: Head::default() }
    }

    fn refuse(&mut self) {
        self.refused.get_or_insert(Refused::Malformed);
    }

    fn fits(&mut self, line: Line<'_>) -> bool {
        match self.left.checked_sub(line.size()) {
            Some(left) => self.left = left,
            None => {
                self.left = 0;
                self.refused.get_or_insert(Refused::TooLarge);
            }
        }
        self.refused.is_none()
    }

    fn keep(&mut self, line: Line<'_>) {
        if self.fits(line) {
            self.text.extend_from_slice(line.text);
        }
    }

    /// A pseudo-header field may come once, before all others.
    fn first(&mut self, which: u8) {
        if self.begun || self.pseudo & which != 0 {
            self.refuse();
        }
        self.pseudo |= which;
    }

    fn request_line(&mut self, line: Line<'_>) {
        if !self.fits(line) {
            return;
        }
        let (which, place) = match line.class {
            Class::Method => (METHOD, &mut self.scratch.method),
            Class::Authority => (AUTHORITY, &mut self.scratch.authority),
            Class::Path => (PATH, &mut self.scratch.path),
            Class::Protocol => (PROTOCOL, &mut self.scratch.protocol),
            Class::Scheme => return self.first(SCHEME),
            Class::Status | Class::Bad => return self.refuse(),
            _ => {
                self.begin_request();
                return self.field(line);
            }
        };
        place.extend_from_slice(line.value());
        self.first(which);
    }

    fn field(&mut self, line: Line<'_>) {
        match line.class {
            Class::Host if line.value().eq_ignore_ascii_case(&self.scratch.authority) => {}
            Class::Cookie => {
                let cookie = &mut self.scratch.cookie;
                if !cookie.is_empty() {
                    cookie.extend_from_slice(b"; ");
                }
                cookie.extend_from_slice(line.value());
            }
            Class::ContentLength => self.length(line),
            // Their place is taken by the stream itself (RFC 8441, 5).
            _ if self.head.websocket && line.name().starts_with(b"sec-websocket-key") => {}
            // A second Host, which is not the authority, is refused by whoever reads the text.
            _ => {
                self.head.trailers |= promises_trailers(line);
                self.text.extend_from_slice(line.text);
            }
        }
    }

    fn length(&mut self, line: Line<'_>) {
        match field::content_length(line.value()) {
            Some(length) if self.head.length.is_none() => self.head.length = Some(length),
            _ => self.refuse(),
        }
    }

    /// Writes the start line, when all of the pseudo-header fields have come.
    fn begin_request(&mut self) {
        if self.begun {
            return;
        }
        self.begun = true;
        let Scratch { method, authority, path, protocol, .. } = &*self.scratch;
        let extended = self.pseudo & PROTOCOL != 0;
        let connect = method == b"CONNECT" && !extended;
        let wanted = if connect { METHOD | AUTHORITY } else { METHOD | SCHEME | PATH };
        let token = method.iter().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(b));
        let good_path = path.first() == Some(&b'/') || path == b"*" || connect;
        let good_kind = !extended || method == b"CONNECT";
        if self.pseudo & wanted != wanted || (connect && self.pseudo != wanted) || !token || !good_path || !good_kind {
            return self.refuse();
        }
        self.head.head_method = method == b"HEAD";
        let target = if connect { b"/" } else { &path[..] };
        // Of what extended CONNECT may ask for, only this has a form in HTTP/1.1 that servers know.
        self.head.websocket = extended && protocol.eq_ignore_ascii_case(b"websocket");
        let method = if self.head.websocket { &b"GET"[..] } else { &method[..] };
        for part in [method, b" ", target, b" HTTP/1.1\r\n"] {
            self.text.extend_from_slice(part);
        }
        if self.pseudo & AUTHORITY != 0 {
            [b"host: ", &authority[..], b"\r\n"].iter().for_each(|part| self.text.extend_from_slice(part));
        }
        if self.head.websocket {
            self.text.extend_from_slice(websocket::ASKED);
        } else if extended {
            self.text.extend_from_slice(websocket::OTHER);
        }
    }

    fn response_line(&mut self, line: Line<'_>) {
        match line.class {
            Class::Status => {
                self.first(STATUS);
                match line.value() {
                    digits @ [b'1'..=b'9', b, c] if b.is_ascii_digit() && c.is_ascii_digit() => {
                        self.head.status = digits.iter().fold(0, |n, d| n * 10 + u16::from(d - b'0'));
                        [b"HTTP/1.1 ", digits, b" \r\n"].iter().for_each(|part| self.text.extend_from_slice(part));
                    }
                    _ => self.refuse(),
                }
            }
            Class::Plain | Class::Cookie | Class::Host | Class::ContentLength if self.pseudo != 0 => {
                self.begun = true;
                self.head.trailers |= promises_trailers(line);
                if line.class == Class::ContentLength {
                    return self.length(line);
                }
                self.keep(line);
            }
            _ => self.refuse(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::hpack::Encoder;
    use super::*;

    type Fields<'a> = &'a [(&'a str, &'a str)];

    fn block(fields: Fields<'_>) -> Vec<u8> {
        let mut output = Vec::new();
        let mut encoder = Encoder::default();
        // Capitals are left for the reader to refuse, so they are written by hand here.
        for (name, value) in fields {
            if name.bytes().any(|b| b.is_ascii_uppercase()) {
                output.extend_from_slice(&[0, name.len() as u8]);
                output.extend_from_slice(name.as_bytes());
                output.push(value.len() as u8);
                output.extend_from_slice(value.as_bytes());
            } else {
                encoder.field(name.as_bytes(), value.as_bytes(), &mut output);
            }
        }
        output
    }

    fn read(fields: Fields<'_>) -> Result<String, Refused> {
        let mut text = Vec::new();
        request(&mut Decoder::default(), &block(fields), 1000, &mut Scratch::default(), &mut text)?;
        Ok(String::from_utf8(text).unwrap())
    }

    const START: [(&str, &str); 4] = [(":method", "GET"), (":scheme", "http"), (":path", "/a"), (":authority", "h")];

    fn with(more: Fields<'_>) -> Result<String, Refused> {
        read(&[&START, more].concat())
    }

    #[test]
    fn a_request_is_its_text() {
        let text = with(&[("a", "b"), ("cookie", "x=1"), ("host", "H"), ("c", ""), ("cookie", "y=2")]).unwrap();
        assert_eq!(text, "GET /a HTTP/1.1\r\nhost: h\r\na: b\r\nc: \r\ncookie: x=1; y=2\r\n");
        assert_eq!(with(&[]).unwrap(), "GET /a HTTP/1.1\r\nhost: h\r\n");
        let connect = read(&[(":method", "CONNECT"), (":authority", "h:1")]).unwrap();
        assert_eq!(connect, "CONNECT / HTTP/1.1\r\nhost: h:1\r\n");
        let extended = |protocol| {
            let mut fields = START.to_vec();
            fields[0].1 = "CONNECT";
            fields.extend([(":protocol", protocol), ("sec-websocket-key", "x"), ("sec-websocket-version", "13")]);
            read(&fields).unwrap()
        };
        let websocket = "GET /a HTTP/1.1\r\nhost: h\r\nconnection: close, upgrade\r\nupgrade: websocket\r\n";
        assert_eq!(extended("websocket"), format!("{websocket}sec-websocket-version: 13\r\n"));
        assert!(extended("h2c").starts_with("CONNECT /a HTTP/1.1\r\nhost: h\r\nupgrade: unknown\r\n"));
    }

    #[test]
    fn malformed_requests() {
        let malformed: [Fields<'_>; 12] = [
            &[(":protocol", "websocket")],
            &[("a", "b"), (":path", "/")],
            &[(":path", "/")],
            &[(":status", "200")],
            &[(":other", "x")],
            &[("A", "b")],
            &[("connection", "close")],
            &[("transfer-encoding", "chunked")],
            &[("te", "gzip")],
            &[("content-length", "+1")],
            &[("content-length", "1"), ("content-length", "1")],
            &[("a", " b")],
        ];
        for more in malformed {
            assert_eq!(with(more), Err(Refused::Malformed), "{more:?}");
        }
        for missing in &START[..3] {
            let fields: Vec<_> = START.iter().filter(|field| *field != missing).copied().collect();
            assert_eq!(read(&fields), Err(Refused::Malformed), "{missing:?}");
        }
        for (at, value) in [(0, "G T"), (2, ""), (2, "a")] {
            let mut fields = START.to_vec();
            fields[at].1 = value;
            assert_eq!(read(&fields), Err(Refused::Malformed), "{value:?}");
        }
        assert_eq!(with(&[("a", &"b".repeat(900))]), Err(Refused::TooLarge));
    }

    #[test]
    fn responses_begin_with_their_status() {
        let read = |fields: Fields<'_>| {
            let mut text = Vec::new();
            let head = response(&mut Decoder::default(), &block(fields), 1000, &mut Scratch::default(), &mut text)?;
            Ok((head.status, String::from_utf8(text).unwrap()))
        };
        let good = read(&[(":status", "200"), ("content-length", "3")]);
        assert_eq!(good, Ok((200, "HTTP/1.1 200 \r\n".to_owned())));
        let malformed: [Fields<'_>; 6] = [
            &[],
            &[("a", "b"), (":status", "200")],
            &[(":status", "20")],
            &[(":status", "101")],
            &[(":status", "200"), (":status", "200")],
            &[(":status", "200"), (":path", "/")],
        ];
        for fields in malformed {
            assert_eq!(read(fields), Err(Refused::Malformed), "{fields:?}");
        }
    }
}
