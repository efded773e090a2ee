//! Chunked bodies (RFC 9112, 7.1): decoded strictly, and written anew.
//!
//! Promises: only CRLF ends a line, a size is 1 to 15 hexadecimal digits, extensions are checked and not forwarded,
//! trailers are forwarded unless they would be framing or hop-by-hop. What was written is what we understood.
//! Refuses: everything else; lines over 4 KiB; trailers over 16 KiB; chunks that are little but extensions (CVE-2023-39326).

use super::field::{self, Kind};

const MAX_LINE_BYTES: usize = 4096;
const MAX_TRAILER_BYTES: usize = 16384;
/// Extensions may take as much as the payload and this much more.
const MAX_EXTENSION_BYTES: u64 = 16384;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Size,
    Data(u64),
    DataEnd,
    Trailer,
    Done,
}

#[derive(Debug, PartialEq, Eq)]
pub struct Malformed;

#[derive(Debug)]
pub struct Chunked {
    state: State,
    trailer_bytes: usize,
    extension_bytes: u64,
    data_bytes: u64,
}

impl Default for Chunked {
    fn default() -> Self {
        Self { state: State::Size, trailer_bytes: 0, extension_bytes: 0, data_bytes: 0 }
    }
}

impl Chunked {
    pub fn done(&self) -> bool {
        self.state == State::Done
    }

    /// Payload so far.
    pub fn data_bytes(&self) -> u64 {
        self.data_bytes
    }

    /// Takes what it can from `input` and appends it to `output`: chunked again, or only the payload with `plain`.
    /// Returns the bytes used; it needs more input when that is less than all and it is not done.
    pub fn transfer(&mut self, input: &[u8], output: &mut Vec<u8>, plain: bool) -> Result<usize, Malformed> {
        let mut used = 0;
        loop {
            let rest = &input[used..];
            match self.state {
                State::Done => return Ok(used),
                State::Data(left) => {
                    if rest.is_empty() {
                        return Ok(used);
                    }
                    let n = usize::try_from(left).unwrap_or(usize::MAX).min(rest.len());
                    output.extend_from_slice(&rest[..n]);
                    used += n;
                    self.data_bytes += n as u64;
                    self.state = if left == n as u64 { State::DataEnd } else { State::Data(left - n as u64) };
                }
                State::DataEnd => {
                    match rest {
                        [b'\r', b'\n', ..] => used += 2,
                        [] | [b'\r'] => return Ok(used),
                        _ => return Err(Malformed),
                    }
                    if !plain {
                        output.extend_from_slice(b"\r\n");
                    }
                    self.state = State::Size;
                }
                State::Size => {
                    let Some(line) = line(rest)? else { return Ok(used) };
                    let size = size(line)?;
                    used += line.len() + 2;
                    self.extension_bytes += line.len().saturating_sub(16) as u64;
                    if self.extension_bytes > MAX_EXTENSION_BYTES + self.data_bytes {
                        return Err(Malformed);
                    }
                    if !plain {
                        write_size(size, output);
                    }
                    self.state = if size == 0 { State::Trailer } else { State::Data(size) };
                }
                State::Trailer => {
                    let Some(line) = line(rest)? else { return Ok(used) };
                    used += line.len() + 2;
                    self.trailer_bytes += line.len();
                    if self.trailer_bytes > MAX_TRAILER_BYTES {
                        return Err(Malformed);
                    }
                    if line.is_empty() {
                        self.state = State::Done;
                    } else if !forwardable(line)? {
                        continue;
                    }
                    if !plain {
                        output.extend_from_slice(line);
                        output.extend_from_slice(b"\r\n");
                    }
                }
            }
        }
    }
}

/// A line without its CRLF; `None` when it is not whole.
fn line(input: &[u8]) -> Result<Option<&[u8]>, Malformed> {
    match memchr::memchr2(b'\r', b'\n', input) {
        Some(at) if at > MAX_LINE_BYTES || input[at] == b'\n' => Err(Malformed),
        Some(at) => match input.get(at + 1) {
            Some(b'\n') => Ok(Some(&input[..at])),
            Some(_) => Err(Malformed),
            None => Ok(None),
        },
        None if input.len() > MAX_LINE_BYTES => Err(Malformed),
        None => Ok(None),
    }
}

fn size(line: &[u8]) -> Result<u64, Malformed> {
    let digits = line.iter().take_while(|b| b.is_ascii_hexdigit()).count();
    if !(1..=15).contains(&digits) {
        return Err(Malformed);
    }
    let extension = &line[digits..];
    let good = |b: &u8| *b == b'\t' || (0x20..0x7f).contains(b);
    if !extension.is_empty() && (extension[0] != b';' || !extension.iter().all(good)) {
        return Err(Malformed);
    }
    let text = std::str::from_utf8(&line[..digits]).map_err(|_| Malformed)?;
    u64::from_str_radix(text, 16).map_err(|_| Malformed)
}

fn write_size(size: u64, output: &mut Vec<u8>) {
    use std::io::Write;
    let _ = write!(output, "{size:x}\r\n");
}

/// What is passed on of trailers that HTTP/2 has checked already.
pub fn forwarded(lines: &[u8]) -> Vec<u8> {
    let good = |line: &&[u8]| forwardable(line.trim_ascii_end()).unwrap_or(false);
    lines.split_inclusive(|b| *b == b'\n').filter(good).flatten().copied().collect()
}

fn forwardable(line: &[u8]) -> Result<bool, Malformed> {
    let colon = memchr::memchr(b':', line).ok_or(Malformed)?;
    let name = &line[..colon];
    let token = |b: &u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(b);
    let text = |b: &u8| *b == b'\t' || (*b >= 0x20 && *b != 0x7f);
    if name.is_empty() || !name.iter().all(token) || !line[colon..].iter().all(text) {
        return Err(Malformed);
    }
    let name = std::str::from_utf8(name).map_err(|_| Malformed)?;
    Ok(field::kind(name) == Kind::Other)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(input: &[u8]) -> Result<(Vec<u8>, bool), Malformed> {
        let (mut decoder, mut output, mut pending) = (Chunked::default(), Vec::new(), Vec::new());
        for byte in input {
            pending.push(*byte);
            let used = decoder.transfer(&pending, &mut output, false)?;
            pending.drain(..used);
        }
        Ok((output, decoder.done()))
    }

    #[test]
    fn a_body_is_written_anew_without_extensions_and_forbidden_trailers() {
        let (output, done) =
            decode(b"5;a=b\r\nhello\r\n0A\r\n0123456789\r\n0\r\nX-Sum: 1\r\nContent-Length: 9\r\n\r\n").unwrap();
        assert!(done);
        assert_eq!(output, b"5\r\nhello\r\na\r\n0123456789\r\n0\r\nX-Sum: 1\r\n\r\n");
    }

    #[test]
    fn ambiguous_chunks_are_refused() {
        for bad in [
            &b"5\nhello\r\n0\r\n\r\n"[..],
            b"+5\r\nhello",
            b"0x5\r\nhello",
            b"5 \r\nhello",
            b"5_0\r\nhello",
            b"\r\nhello",
            b"5\r\nhelloX\r\n",
            b"5\r\nhello\n0\r\n",
            b"5;a\nb\r\nhello",
            b"ffffffffffffffff\r\n",
            b"0\r\nA : b\r\n\r\n",
            b"0\r\nno colon\r\n\r\n",
            b"0\r\nA: b\n\r\n",
        ] {
            assert_eq!(decode(bad), Err(Malformed), "{:?}", String::from_utf8_lossy(bad));
        }
    }
}
