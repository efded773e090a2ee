//! A body's HTTP/1.1 bytes taken apart, for DATA frames and trailers.
//!
//! The bytes come from our own state machine; what it would not have written is an error all the same. Lines may be cut
//! anywhere.

use std::io;

/// How far the body is.
#[derive(Debug)]
pub enum Body {
    Done,
    Raw(u64),
    /// So many bytes, and then an end that is told apart.
    Open(u64),
    UntilClose,
    Chunked(Part),
}

#[derive(Debug)]
pub enum Part {
    /// The digits so far, and whether the line is past them.
    Size(u64, bool),
    Data(u64),
    DataEnd,
    /// The lines so far.
    Trailers(Vec<u8>),
}

/// What the next bytes are.
#[derive(Debug, PartialEq, Eq)]
pub enum Piece {
    /// That many bytes were framing.
    Skip(usize),
    /// That many bytes are payload, to be confirmed with `took`; true when they are the last.
    Data(usize, bool),
    /// The end, after so many bytes, with the trailers' lines.
    End(usize, Vec<u8>),
}

const MOST_TRAILER_BYTES: usize = 32 << 10;

impl Body {
    pub fn chunked() -> Self {
        Self::Chunked(Part::Size(0, false))
    }

    pub fn done(&self) -> bool {
        matches!(self, Self::Done)
    }

    /// So much payload was used.
    pub fn took(&mut self, n: usize) {
        match self {
            Self::Raw(left) | Self::Open(left) => {
                *left -= n as u64;
                if *left == 0 {
                    *self = Self::Done;
                }
            }
            Self::Chunked(part) => {
                if let Part::Data(left) = part {
                    *left -= n as u64;
                    if *left == 0 {
                        *part = Part::DataEnd;
                    }
                }
            }
            Self::Done | Self::UntilClose => {}
        }
    }

    /// `input` is not empty.
    pub fn next(&mut self, input: &[u8]) -> io::Result<Piece> {
        let fit = |left: u64| usize::try_from(left).unwrap_or(usize::MAX).min(input.len());
        match self {
            Self::Done => Ok(Piece::Skip(input.len())),
            Self::UntilClose => Ok(Piece::Data(input.len(), false)),
            Self::Raw(left) => Ok(Piece::Data(fit(*left), *left == fit(*left) as u64)),
            Self::Open(left) => Ok(Piece::Data(fit(*left), false)),
            Self::Chunked(Part::Data(left)) => Ok(Piece::Data(fit(*left), false)),
            Self::Chunked(part) => {
                let line = memchr::memchr(b'\n', input);
                let used = line.map_or(input.len(), |end| end + 1);
                let Some(lines) = part.framing(&input[..used], line.is_some())? else { return Ok(Piece::Skip(used)) };
                *self = Self::Done;
                Ok(Piece::End(used, lines))
            }
        }
    }
}

impl Part {
    /// Takes a piece of a line; the trailers when it was the last.
    fn framing(&mut self, text: &[u8], whole: bool) -> io::Result<Option<Vec<u8>>> {
        match self {
            Self::Data(_) => {}
            Self::DataEnd if whole => *self = Self::Size(0, false),
            Self::DataEnd => {}
            Self::Size(size, past) => {
                for byte in text {
                    match char::from(*byte).to_digit(16) {
                        _ if *past => break,
                        Some(digit) if *size >> 59 == 0 => *size = *size << 4 | u64::from(digit),
                        Some(_) => return Err(io::ErrorKind::InvalidData.into()),
                        None => *past = true,
                    }
                }
                if whole {
                    *self = if *size == 0 { Self::Trailers(Vec::new()) } else { Self::Data(*size) };
                }
            }
            Self::Trailers(lines) => {
                lines.extend_from_slice(text);
                if lines.len() > MOST_TRAILER_BYTES {
                    return Err(io::ErrorKind::InvalidData.into());
                }
                let ended = lines == b"\r\n" || lines.ends_with(b"\r\n\r\n");
                if whole && ended {
                    lines.truncate(lines.len() - 2);
                    return Ok(Some(std::mem::take(lines)));
                }
            }
        }
        Ok(None)
    }
}

/// The fields of lines that `End` gave.
pub fn fields(lines: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    lines.split(|b| *b == b'\n').filter_map(|line| {
        let colon = memchr::memchr(b':', line)?;
        Some((&line[..colon], line[colon + 1..].trim_ascii()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(body: &mut Body, mut input: &[u8]) -> (Vec<u8>, Option<Vec<u8>>) {
        let (mut data, mut end) = (Vec::new(), None);
        while !input.is_empty() && !body.done() {
            let used = match body.next(input).unwrap() {
                Piece::Skip(n) => n,
                Piece::Data(n, _) => {
                    data.extend_from_slice(&input[..n]);
                    body.took(n);
                    n
                }
                Piece::End(n, lines) => {
                    end = Some(lines);
                    n
                }
            };
            input = &input[used..];
        }
        (data, end)
    }

    #[test]
    fn chunks_come_apart_wherever_they_are_cut() {
        let whole = b"5\r\nhello\r\n10;x=a\r\n0123456789abcdef\r\n0\r\na: b\r\nc:d\r\n\r\n";
        for cut in 0..whole.len() {
            let mut body = Body::chunked();
            let (mut data, end) = taken(&mut body, &whole[..cut]);
            let (more, later) = taken(&mut body, &whole[cut..]);
            data.extend_from_slice(&more);
            assert_eq!(data, b"hello0123456789abcdef");
            let lines = end.or(later).unwrap();
            assert_eq!(fields(&lines).collect::<Vec<_>>(), [(&b"a"[..], &b"b"[..]), (b"c", b"d")]);
        }
        assert_eq!(taken(&mut Body::chunked(), b"0\r\n\r\n").1, Some(vec![]));
    }

    #[test]
    fn the_last_of_a_known_length_is_known() {
        let mut body = Body::Raw(5);
        assert_eq!(body.next(b"abc").unwrap(), Piece::Data(3, false));
        body.took(3);
        assert_eq!(body.next(b"dexx").unwrap(), Piece::Data(2, true));
        body.took(2);
        assert!(body.done());
    }
}
