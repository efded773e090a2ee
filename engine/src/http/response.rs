//! A backend's response head: parsed, judged and rewritten for the client.
//!
//! Promises: fields of one hop are dropped, those that Connection names, too; framing is written as everybody does it. A
//! response whose end is not clear is refused (the client gets a 502). A connection on which more might come than a
//! response without a body is not used again.

use smallvec::SmallVec;

use super::field::{self, Kind, offset};
use super::forward;
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

/// Fields that a response's Connection may name; as many as a request's.
const MOST_HOP_NAMES: usize = 16;

/// Parses the head at the start of `input` and writes the client's into `output`. `None`: not whole yet.
pub fn translate<'b>(
    input: &'b [u8],
    storage: &'b mut Storage<'b>,
    asked: Asked,
    edits: Edits<'_>,
    output: &mut Vec<u8>,
) -> Result<Option<Head>, Malformed> {
    if !input.iter().zip(b"HTTP/").all(|(a, b)| a == b) {
        return Err(Malformed); // only servers may skip empty lines
    }
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
    let status = raw.code.filter(|code| *code >= 100).ok_or(Malformed)?;
    let switching = status == 101 && asked.upgrade;
    if status == 101 && !switching {
        return Err(Malformed);
    }
    let said = Said::by(raw.headers)?;
    let backend10 = raw.version == Some(0);
    let bodiless = status < 200 || status == 204;
    let framing = match (said.chunked, said.length) {
        _ if switching => Framing::UntilClose,
        _ if asked.head_method || bodiless || status == 304 => Framing::Empty,
        (true, _) if backend10 => return Err(Malformed),
        (true, _) => Framing::Chunked,
        (false, Some(0)) => Framing::Empty,
        (false, Some(n)) => Framing::Length(n),
        (false, None) => Framing::UntilClose,
    };
    output.extend_from_slice(b"HTTP/1.1");
    write_fields(&input[..bytes], raw.headers, &said, output, |index| match said.kinds[index] {
        Kind::ContentLength => !bodiless,
        Kind::TransferEncoding => !bodiless && !asked.http10,
        Kind::Connection | Kind::Hop => false,
        Kind::Upgrade => switching,
        _ => !edits.changes.is_some_and(|c| field::replaces(c, raw.headers[index].name)),
    });
    if status >= 200 {
        edits.changes.iter().for_each(|c| field::write_changes(c, output));
        output.extend_from_slice(edits.lines);
        if status < 400 {
            output.extend_from_slice(edits.cookies);
        }
    }
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
    // A body where none may be would be read as the next response.
    let overlong = (bodiless && said.length.unwrap_or(0) > 0) || ((bodiless || status == 304) && said.chunked);
    let reusable = !said.close && (!backend10 || said.keep_alive) && !overlong;
    Ok(Some(Head { bytes, status, framing, reusable }))
}

/// What a response says of its framing and of its connection.
#[derive(Default)]
struct Said<'b> {
    kinds: SmallVec<[Kind; 32]>,
    length: Option<u64>,
    /// Which of the fields of its length stands for all.
    length_at: usize,
    chunked: bool,
    close: bool,
    keep_alive: bool,
    /// Fields that Connection names, besides the usual ones.
    hop_names: SmallVec<[&'b [u8]; 2]>,
}

impl<'b> Said<'b> {
    fn by(headers: &[httparse::Header<'b>]) -> Result<Self, Malformed> {
        let mut said = Self::default();
        for (index, header) in headers.iter().enumerate() {
            let kind = field::kind(header.name);
            said.kinds.push(kind);
            match kind {
                Kind::ContentLength => {
                    let value = field::content_length(header.value).ok_or(Malformed)?;
                    if said.length.replace(value).is_some_and(|before| before != value) {
                        return Err(Malformed);
                    }
                    said.length_at = index;
                }
                Kind::TransferEncoding if said.chunked || !header.value.eq_ignore_ascii_case(b"chunked") => {
                    return Err(Malformed);
                }
                Kind::TransferEncoding => said.chunked = true,
                Kind::Connection => {
                    for token in field::tokens(header.value) {
                        if token.eq_ignore_ascii_case(b"close") {
                            said.close = true;
                        } else if token.eq_ignore_ascii_case(b"keep-alive") {
                            said.keep_alive = true;
                        } else if said.hop_names.len() < MOST_HOP_NAMES {
                            said.hop_names.push(token);
                        } else {
                            return Err(Malformed); // each is compared with each field
                        }
                    }
                }
                _ => {}
            }
        }
        if said.chunked && said.length.is_some() { Err(Malformed) } else { Ok(said) }
    }

    /// Does the field end at this hop because Connection says so?
    fn names(&self, index: usize, header: &httparse::Header<'_>) -> bool {
        matches!(self.kinds[index], Kind::Other | Kind::Claim)
            && self.hop_names.iter().any(|name| name.eq_ignore_ascii_case(header.name.as_bytes()))
    }
}

/// Writes the status line's rest and the fields that stay, in runs as the backend wrote them.
fn write_fields(
    head: &[u8],
    headers: &[httparse::Header<'_>],
    said: &Said<'_>,
    output: &mut Vec<u8>,
    stays: impl Fn(usize) -> bool,
) {
    let end = head.len() - 2;
    let begin = |index: usize| headers.get(index).map_or(end, |h| offset(head, h.name.as_bytes()));
    let mut run = b"HTTP/1.1".len();
    let mut anew = None;
    for (index, header) in headers.iter().enumerate() {
        let mut keep = stays(index) && !said.names(index, header);
        match said.kinds[index] {
            Kind::ContentLength if keep && index != said.length_at => keep = false,
            Kind::ContentLength if keep && !field::plain_framing(head, header) => {
                anew = said.length.map(Framing::Length);
                keep = false;
            }
            Kind::TransferEncoding if keep && !field::plain_framing(head, header) => {
                anew = Some(Framing::Chunked);
                keep = false;
            }
            _ => {}
        }
        if !keep {
            output.extend_from_slice(&head[run..begin(index)]);
            run = begin(index + 1);
        }
    }
    output.extend_from_slice(&head[run..end]);
    anew.iter().for_each(|framing| forward::write_framing(*framing, output));
}

#[cfg(test)]
mod tests {
    use super::super::request;
    use super::*;

    #[test]
    fn a_connection_field_names_no_more_than_so_many() {
        let judge = |names: usize| {
            let list: Vec<_> = (0..names).map(|n| format!("x-{n}")).collect();
            let head = format!("HTTP/1.1 204 No Content\r\nConnection: {}\r\n\r\n", list.join(","));
            let asked = Asked { head_method: false, http10: false, close: false, upgrade: false };
            let mut storage = request::storage();
            translate(head.as_bytes(), &mut storage, asked, Edits::default(), &mut Vec::new()).is_ok()
        };
        assert!(judge(MOST_HOP_NAMES) && !judge(MOST_HOP_NAMES + 1));
    }
}
