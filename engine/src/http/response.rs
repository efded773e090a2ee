//! A backend's response head: parsed, judged and rewritten for the client.
//!
//! Promises: hop-by-hop fields are dropped, a response whose end is not clear is refused (the client gets a 502).

use super::field::{self, Kind};
use super::request::{Framing, Storage};
use crate::control::objects;

pub struct Head {
    pub bytes: usize,
    pub status: u16,
    pub framing: Framing,
    /// The backend lets its connection be used again.
    pub reusable: bool,
}

/// Who asked, as far as the answer's form depends on it.
#[derive(Debug, Clone, Copy)]
pub struct Asked {
    pub head_method: bool,
    pub http10: bool,
    pub close: bool,
    pub upgrade: bool,
}

/// What is changed of a response's fields.
#[derive(Clone, Copy, Default)]
pub struct Edits<'a> {
    pub changes: Option<&'a objects::HeaderChanges>,
    /// Whole lines, with their ends, that are added.
    pub lines: &'a [u8],
    /// The same, where the response is no error.
    pub cookies: &'a [u8],
}

#[derive(Debug)]
pub struct Malformed;

/// Parses the head at the start of `input` and writes the client's into `output`. `None`: not whole yet.
pub fn translate<'b>(
    input: &'b [u8],
    storage: &'b mut Storage<'b>,
    asked: Asked,
    edits: Edits<'_>,
    output: &mut Vec<u8>,
) -> Result<Option<Head>, Malformed> {
    let mut raw = httparse::Response::new(&mut []);
    let config = httparse::ParserConfig::default();
    let bytes = match config.parse_response_with_uninit_headers(&mut raw, input, storage) {
        Ok(httparse::Status::Complete(bytes)) => bytes,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(_) => return Err(Malformed),
    };
    if !field::strict_lines(&input[..bytes]) {
        return Err(Malformed);
    }
    let status = raw.code.ok_or(Malformed)?;
    let backend10 = raw.version == Some(0);
    let start = raw.headers.first().map_or(bytes - 2, |h| offset(input, h.name.as_bytes()));
    let mut length: Option<u64> = None;
    let mut chunked = false;
    let mut reusable = !backend10;
    output.extend_from_slice(b"HTTP/1.1");
    let line = &input[8..start];
    output.extend_from_slice(line);
    let switching = status == 101 && asked.upgrade;
    let mut run = start;
    for (index, header) in raw.headers.iter().enumerate() {
        let keep = match field::kind(header.name) {
            Kind::ContentLength => {
                let value = field::content_length(header.value).ok_or(Malformed)?;
                if length.replace(value).is_some_and(|before| before != value) {
                    return Err(Malformed);
                }
                true
            }
            Kind::TransferEncoding => {
                if chunked || !header.value.eq_ignore_ascii_case(b"chunked") {
                    return Err(Malformed);
                }
                chunked = true;
                !asked.http10
            }
            Kind::Connection => {
                for token in field::tokens(header.value) {
                    if token.eq_ignore_ascii_case(b"close") {
                        reusable = false;
                    } else if token.eq_ignore_ascii_case(b"keep-alive") {
                        reusable = true;
                    }
                }
                false
            }
            Kind::Hop => false,
            Kind::Upgrade => switching,
            _ => !edits.changes.is_some_and(|c| field::replaces(c, header.name)),
        };
        if !keep {
            let here = offset(input, header.name.as_bytes());
            output.extend_from_slice(&input[run..here]);
            run = raw.headers.get(index + 1).map_or(bytes - 2, |next| offset(input, next.name.as_bytes()));
        }
    }
    output.extend_from_slice(&input[run..bytes - 2]);
    if status >= 200 {
        edits.changes.iter().for_each(|c| field::write_changes(c, output));
        output.extend_from_slice(edits.lines);
        if status < 400 {
            output.extend_from_slice(edits.cookies);
        }
    }
    let framing = match (chunked, length) {
        _ if switching => Framing::UntilClose,
        _ if asked.head_method || status < 200 || status == 204 || status == 304 => Framing::Empty,
        (true, Some(_)) => return Err(Malformed),
        (true, None) if backend10 => return Err(Malformed),
        (true, None) => Framing::Chunked,
        (false, Some(0)) => Framing::Empty,
        (false, Some(n)) => Framing::Length(n),
        (false, None) => Framing::UntilClose,
    };
    if switching {
        output.extend_from_slice(b"Connection: upgrade\r\n");
    } else if status >= 200 {
        let ends = framing == Framing::UntilClose || (framing == Framing::Chunked && asked.http10);
        if asked.close || ends {
            output.extend_from_slice(b"Connection: close\r\n");
        } else if asked.http10 {
            output.extend_from_slice(b"Connection: keep-alive\r\n");
        }
    }
    output.extend_from_slice(b"\r\n");
    Ok(Some(Head { bytes, status, framing, reusable }))
}

/// Where a slice of `input` begins in it.
pub fn offset(input: &[u8], part: &[u8]) -> usize {
    part.as_ptr().addr() - input.as_ptr().addr()
}
