//! HTTP/1.1 messages, read incrementally: just enough of RFC 9112 to know where a message ends. What is not a valid
//! message is an error; a body's bytes are counted, not kept.

use std::io;

const MAX_HEAD: usize = 65_536;

fn malformed(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}

/// How the rest of a body is delimited.
#[derive(Debug)]
enum Body {
    Length(u64),
    Chunked(Chunk),
    UntilClose,
}

#[derive(Debug)]
enum Chunk {
    Size { value: u64, extension: bool },
    Data(u64),
    DataEnd,
    Trailer { empty: bool },
}

impl Body {
    /// Takes what belongs to the body: (bytes consumed, bytes of content, whether the body is complete).
    fn take(&mut self, data: &[u8]) -> io::Result<(usize, u64, bool)> {
        match self {
            Body::UntilClose => Ok((data.len(), data.len() as u64, false)),
            Body::Length(left) => {
                let n = data.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                *left -= n as u64;
                Ok((n, n as u64, *left == 0))
            }
            Body::Chunked(chunk) => chunk.take(data),
        }
    }
}

impl Chunk {
    fn take(&mut self, data: &[u8]) -> io::Result<(usize, u64, bool)> {
        let (mut at, mut content) = (0, 0);
        while at < data.len() {
            if let Chunk::Data(left) = self {
                let n = (data.len() - at).min(usize::try_from(*left).unwrap_or(usize::MAX));
                at += n;
                content += n as u64;
                *left -= n as u64;
                if *left == 0 {
                    *self = Chunk::DataEnd;
                }
                continue;
            }
            let done = self.line_byte(data[at])?;
            at += 1;
            if done {
                return Ok((at, content, true));
            }
        }
        Ok((at, content, false))
    }

    /// One byte outside of chunk data; true when it ends the body.
    fn line_byte(&mut self, byte: u8) -> io::Result<bool> {
        match self {
            Chunk::Size { value, extension } => match byte {
                b'\n' if *value == 0 => *self = Chunk::Trailer { empty: true },
                b'\n' => *self = Chunk::Data(*value),
                b';' => *extension = true,
                b'\r' => {}
                _ if *extension => {}
                _ => {
                    let digit = (byte as char).to_digit(16).ok_or_else(|| malformed("chunk size"))?;
                    *value = value.checked_mul(16).ok_or_else(|| malformed("chunk size"))? + u64::from(digit);
                }
            },
            Chunk::DataEnd if byte == b'\n' => *self = Chunk::Size { value: 0, extension: false },
            Chunk::DataEnd if byte == b'\r' => {}
            Chunk::Trailer { empty: true } if byte == b'\n' => return Ok(true),
            Chunk::Trailer { empty } if byte == b'\n' => *empty = true,
            Chunk::Trailer { .. } if byte == b'\r' => {}
            Chunk::Trailer { empty } => *empty = false,
            Chunk::DataEnd | Chunk::Data(_) => return Err(malformed("chunk end")),
        }
        Ok(false)
    }
}

/// Collects a head, across reads if it must; `None` until it is complete.
#[derive(Default)]
struct Head {
    kept: Vec<u8>,
}

impl Head {
    /// Calls `parse` with the bytes so far; it returns the head's length when the head is complete.
    fn take(
        &mut self,
        data: &[u8],
        mut parse: impl FnMut(&[u8]) -> io::Result<Option<usize>>,
    ) -> io::Result<Option<usize>> {
        if self.kept.is_empty() {
            let length = parse(data)?;
            if length.is_none() {
                self.kept.extend_from_slice(data);
            }
            return Ok(length);
        }
        let before = self.kept.len();
        if before > MAX_HEAD {
            return Err(malformed("head too long"));
        }
        self.kept.extend_from_slice(data);
        match parse(&self.kept)? {
            None => Ok(None),
            Some(length) => {
                self.kept.clear();
                Ok(Some(length.saturating_sub(before)))
            }
        }
    }
}

fn is(name: &str, wanted: &str) -> bool {
    name.eq_ignore_ascii_case(wanted)
}

fn has_token(value: &[u8], token: &str) -> bool {
    std::str::from_utf8(value).is_ok_and(|text| text.split(',').any(|part| is(part.trim(), token)))
}

fn length_of(value: &[u8]) -> io::Result<u64> {
    let text = std::str::from_utf8(value).map_err(|_| malformed("content-length"))?;
    text.trim().parse().map_err(|_| malformed("content-length"))
}

fn framing(headers: &[httparse::Header<'_>]) -> io::Result<Option<Body>> {
    let mut body = None;
    for header in headers {
        if is(header.name, "transfer-encoding") && has_token(header.value, "chunked") {
            return Ok(Some(Body::Chunked(Chunk::Size { value: 0, extension: false })));
        }
        if is(header.name, "content-length") {
            body = Some(Body::Length(length_of(header.value)?));
        }
    }
    Ok(body)
}

/// Reads answers, one after the other.
pub struct AnswerReader {
    head: Head,
    body: Option<Body>,
    count_header: String,
    pub no_body: bool,
    pub status: u16,
    pub close: bool,
    pub pod: String,
    pub body_bytes: u64,
}

impl AnswerReader {
    pub fn new(count_header: &str, no_body: bool) -> Self {
        Self {
            head: Head::default(),
            body: None,
            count_header: count_header.into(),
            no_body,
            status: 0,
            close: false,
            pod: String::new(),
            body_bytes: 0,
        }
    }

    /// Whether bytes of an answer have come and its end has not.
    pub fn begun(&self) -> bool {
        self.body.is_some() || !self.head.kept.is_empty()
    }

    /// How many bytes were consumed, and whether an answer is complete with them.
    pub fn push(&mut self, data: &[u8]) -> io::Result<(usize, bool)> {
        let mut at = 0;
        while at < data.len() || self.body.is_none() {
            if let Some(body) = &mut self.body {
                let (n, content, done) = body.take(&data[at..])?;
                self.body_bytes += content;
                if done {
                    self.body = None;
                }
                return Ok((at + n, done));
            }
            let Some(length) = self.read_head(&data[at..])? else { return Ok((data.len(), false)) };
            at += length;
            if self.body.is_none() && (self.status >= 200 || self.status == 101) {
                return Ok((at, true));
            }
        }
        Ok((at, false))
    }

    fn read_head(&mut self, data: &[u8]) -> io::Result<Option<usize>> {
        if data.is_empty() {
            return Ok(None);
        }
        let (status, close, pod, body) = (&mut self.status, &mut self.close, &mut self.pod, &mut self.body);
        let (count_header, no_body) = (&self.count_header, self.no_body);
        self.head.take(data, |bytes| {
            let mut headers = [httparse::EMPTY_HEADER; 64];
            let mut answer = httparse::Response::new(&mut headers);
            let httparse::Status::Complete(length) = answer.parse(bytes).map_err(|_| malformed("answer"))? else {
                return Ok(None);
            };
            *status = answer.code.unwrap_or(0);
            *close = answer.version == Some(0);
            pod.clear();
            for header in answer.headers.iter() {
                if is(header.name, "connection") && has_token(header.value, "close") {
                    *close = true;
                }
                if is(header.name, count_header) {
                    pod.push_str(&String::from_utf8_lossy(header.value));
                }
            }
            let bodiless = no_body || *status < 200 || *status == 204 || *status == 304;
            *body = if bodiless { None } else { Some(framing(answer.headers)?.unwrap_or(Body::UntilClose)) };
            if let Some(Body::Length(0)) = body {
                *body = None;
            }
            Ok(Some(length))
        })
    }

    /// The other side has closed: true if that ends the answer as it may.
    pub fn end(&mut self) -> bool {
        let complete = matches!(self.body, Some(Body::UntilClose));
        self.body = None;
        self.close = true;
        complete
    }
}

/// What a backend needs to know of a request.
#[derive(Debug, PartialEq, Eq, Default, Clone)]
pub struct Request {
    pub head_only: bool,
    pub close: bool,
    pub upgrade: bool,
    pub target: String,
}

#[derive(Default)]
pub struct RequestReader {
    head: Head,
    body: Option<Body>,
    request: Request,
}

impl RequestReader {
    /// How many bytes were consumed, and the request that is complete with them.
    pub fn push(&mut self, data: &[u8]) -> io::Result<(usize, Option<Request>)> {
        let mut at = 0;
        if self.body.is_none() {
            let Some(length) = self.read_head(data)? else { return Ok((data.len(), None)) };
            at = length;
        }
        let Some(body) = &mut self.body else { return Ok((at, Some(std::mem::take(&mut self.request)))) };
        let (n, _, done) = body.take(&data[at..])?;
        if !done {
            return Ok((at + n, None));
        }
        self.body = None;
        Ok((at + n, Some(std::mem::take(&mut self.request))))
    }

    fn read_head(&mut self, data: &[u8]) -> io::Result<Option<usize>> {
        let (request, body) = (&mut self.request, &mut self.body);
        self.head.take(data, |bytes| {
            let mut headers = [httparse::EMPTY_HEADER; 64];
            let mut parsed = httparse::Request::new(&mut headers);
            let httparse::Status::Complete(length) = parsed.parse(bytes).map_err(|_| malformed("request"))? else {
                return Ok(None);
            };
            request.head_only = parsed.method == Some("HEAD");
            request.close = parsed.version == Some(0);
            request.target.clear();
            request.target.push_str(parsed.path.unwrap_or("/"));
            for header in parsed.headers.iter() {
                if is(header.name, "connection") {
                    request.close |= has_token(header.value, "close");
                    request.upgrade |= has_token(header.value, "upgrade");
                }
            }
            *body = framing(parsed.headers)?;
            if let Some(Body::Length(0)) = body {
                *body = None;
            }
            Ok(Some(length))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds the bytes in pieces of each size; every way must give the same.
    fn answers(bytes: &[u8], piece: usize) -> Vec<(u16, String, u64)> {
        let mut reader = AnswerReader::new("x-pod", false);
        let (mut got, mut counted) = (Vec::new(), 0);
        for chunk in bytes.chunks(piece) {
            let mut at = 0;
            while at < chunk.len() {
                let (n, done) = reader.push(&chunk[at..]).unwrap();
                at += n;
                if done {
                    got.push((reader.status, reader.pod.clone(), reader.body_bytes - counted));
                    counted = reader.body_bytes;
                }
            }
        }
        got
    }

    #[test]
    fn answers_end_where_they_end_however_they_are_cut() {
        let bytes = b"HTTP/1.1 200 OK\r\nX-Pod: a\r\nContent-Length: 3\r\n\r\nabc\
            HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n10;x=y\r\n\
            0123456789abcdef\r\n0\r\nTrailer: 1\r\n\r\nHTTP/1.1 204 No\r\nx-pod: b\r\n\r\n\
            HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n";
        let want =
            vec![(200, "a".to_owned(), 3), (200, String::new(), 19), (204, "b".to_owned(), 0), (503, String::new(), 0)];
        for piece in 1..=bytes.len() {
            assert_eq!(answers(bytes, piece), want, "in pieces of {piece}");
        }
    }

    #[test]
    fn an_answer_without_a_length_ends_with_the_connection() {
        let mut reader = AnswerReader::new("x-pod", false);
        assert!(!reader.push(b"HTTP/1.0 200 OK\r\n\r\nabc").unwrap().1);
        assert!(reader.end());
        let mut reader = AnswerReader::new("x-pod", false);
        assert!(!reader.push(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc").unwrap().1);
        assert!(!reader.end());
    }

    #[test]
    fn requests_with_bodies_are_read_to_their_end() {
        let bytes = b"POST /a HTTP/1.1\r\nContent-Length: 2\r\n\r\nxxGET /b HTTP/1.1\r\nConnection: close\r\n\r\n";
        for piece in 1..=bytes.len() {
            let (mut reader, mut got) = (RequestReader::default(), Vec::new());
            for chunk in bytes.chunks(piece) {
                let mut at = 0;
                while at < chunk.len() {
                    let (n, request) = reader.push(&chunk[at..]).unwrap();
                    at += n;
                    got.extend(request.map(|request| (request.target, request.close)));
                }
            }
            assert_eq!(got, [("/a".to_owned(), false), ("/b".to_owned(), true)]);
        }
    }

    #[test]
    fn nonsense_is_an_error() {
        assert!(AnswerReader::new("x", false).push(b"NONSENSE\r\n\r\n").is_err());
        assert!(RequestReader::default().push(b"\x00\x01 / HTTP/1.1\r\n\r\n").is_err());
    }
}
