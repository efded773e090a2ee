//! A body and its trailers between HTTP/2 frames and HTTP/1.1 bytes.
//!
//! `Encoder` makes HTTP/1.1 bytes of a stream's data (raw where the length is known, else chunks and trailers);
//! `Decoder` takes the bytes apart again. Both sides are ours, so the decoder refuses what it does not expect.

use std::io;
use std::task::{Context as Task, Poll, ready};

use bytes::{Buf, Bytes};
use h2::RecvStream;
use http::HeaderMap;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    Empty,
    Raw,
    Chunked,
}

/// What comes from a stream, as HTTP/1.1 bytes.
pub struct Encoder {
    form: Form,
    stream: Option<RecvStream>,
    ready: Bytes,
    ended: bool,
}

impl Encoder {
    pub fn new(head: Vec<u8>, form: Form, stream: Option<RecvStream>) -> Self {
        Self { form, stream, ready: head.into(), ended: form == Form::Empty }
    }

    /// Puts what there is into `out`; nothing when all has come.
    pub fn poll_read(&mut self, task: &mut Task<'_>, out: &mut tokio::io::ReadBuf<'_>) -> Poll<io::Result<()>> {
        if !self.ready.has_remaining() && !self.ended {
            ready!(self.poll_more(task))?;
        }
        let n = self.ready.len().min(out.remaining());
        out.put_slice(&self.ready[..n]);
        self.ready.advance(n);
        Poll::Ready(Ok(()))
    }

    fn poll_more(&mut self, task: &mut Task<'_>) -> Poll<io::Result<()>> {
        let Some(stream) = &mut self.stream else {
            self.ended = true;
            return Poll::Ready(Ok(()));
        };
        loop {
            match ready!(stream.poll_data(task)) {
                Some(Ok(data)) if data.is_empty() => {}
                Some(Ok(data)) => {
                    let _ = stream.flow_control().release_capacity(data.len());
                    self.ready = if self.form == Form::Chunked { chunk(&data) } else { data };
                    return Poll::Ready(Ok(()));
                }
                Some(Err(error)) => return Poll::Ready(Err(io::Error::other(error))),
                None => break,
            }
        }
        let trailers = ready!(stream.poll_trailers(task)).map_err(io::Error::other)?;
        self.ended = true;
        if self.form == Form::Chunked {
            self.ready = last_chunk(trailers.as_ref());
        }
        Poll::Ready(Ok(()))
    }
}

fn chunk(data: &[u8]) -> Bytes {
    let mut bytes = Vec::with_capacity(data.len() + 12);
    bytes.extend_from_slice(format!("{:x}\r\n", data.len()).as_bytes());
    bytes.extend_from_slice(data);
    bytes.extend_from_slice(b"\r\n");
    bytes.into()
}

fn last_chunk(trailers: Option<&HeaderMap>) -> Bytes {
    let mut bytes = b"0\r\n".to_vec();
    trailers.into_iter().for_each(|t| write_fields(t, &mut bytes, |_| true));
    bytes.extend_from_slice(b"\r\n");
    bytes.into()
}

pub fn write_fields(fields: &HeaderMap, out: &mut Vec<u8>, keep: impl Fn(&str) -> bool) {
    for (name, value) in fields.iter().filter(|(name, _)| keep(name.as_str())) {
        for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
            out.extend_from_slice(part);
        }
    }
}

/// The fields of an HTTP/1.1 message for HTTP/2, without those of one hop.
pub fn fields(headers: &[httparse::Header<'_>]) -> io::Result<HeaderMap> {
    let mut map = HeaderMap::with_capacity(headers.len());
    for header in headers {
        let of_hop = ["connection", "transfer-encoding", "keep-alive", "upgrade", "proxy-connection", "host"];
        if of_hop.iter().any(|h| header.name.eq_ignore_ascii_case(h)) {
            continue;
        }
        let name = http::HeaderName::from_bytes(header.name.as_bytes()).map_err(io::Error::other)?;
        map.append(name, http::HeaderValue::from_bytes(header.value).map_err(io::Error::other)?);
    }
    Ok(map)
}

/// Takes an HTTP/1.1 body apart.
pub enum Decoder {
    Done,
    Raw(u64),
    UntilClose,
    Chunked(Part),
}

pub enum Part {
    Size,
    Data(u64),
    DataEnd,
    Trailers(HeaderMap),
}

/// What the next bytes are.
pub enum Piece {
    /// Nothing whole yet.
    More,
    /// That many bytes were framing.
    Skip(usize),
    /// That many bytes are payload, to be confirmed with `took`; true when they are the last.
    Data(usize, bool),
    /// The end, after so many bytes.
    End(usize, Option<HeaderMap>),
}

impl Decoder {
    /// So much payload was used.
    fn took(&mut self, n: usize) {
        match self {
            Self::Raw(left) => {
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

    pub fn next(&mut self, input: &[u8]) -> io::Result<Piece> {
        let part = match self {
            Self::Done => return Ok(Piece::More),
            _ if input.is_empty() => return Ok(Piece::More),
            Self::UntilClose => return Ok(Piece::Data(input.len(), false)),
            Self::Raw(left) => {
                let n = usize::try_from(*left).unwrap_or(usize::MAX).min(input.len());
                return Ok(Piece::Data(n, *left == n as u64));
            }
            Self::Chunked(part) => part,
        };
        match part {
            Part::Data(left) => Ok(Piece::Data(usize::try_from(*left).unwrap_or(usize::MAX).min(input.len()), false)),
            Part::DataEnd => {
                if input.len() < 2 {
                    return Ok(Piece::More);
                }
                *part = Part::Size;
                Ok(Piece::Skip(2))
            }
            Part::Size => {
                let Some(end) = memchr::memchr(b'\n', input) else { return Ok(Piece::More) };
                let text = std::str::from_utf8(&input[..end]).map_err(io::Error::other)?.trim_end();
                let size = u64::from_str_radix(text, 16).map_err(io::Error::other)?;
                *part = if size == 0 { Part::Trailers(HeaderMap::new()) } else { Part::Data(size) };
                Ok(Piece::Skip(end + 1))
            }
            Part::Trailers(map) => {
                let Some(end) = memchr::memchr(b'\n', input) else { return Ok(Piece::More) };
                let line = input[..end].trim_ascii_end();
                if line.is_empty() {
                    let map = std::mem::take(map);
                    *self = Self::Done;
                    return Ok(Piece::End(end + 1, (!map.is_empty()).then_some(map)));
                }
                let colon = memchr::memchr(b':', line).ok_or_else(|| io::Error::other("a trailer without a colon"))?;
                let name = http::HeaderName::from_bytes(&line[..colon]).map_err(io::Error::other)?;
                let value = http::HeaderValue::from_bytes(line[colon + 1..].trim_ascii()).map_err(io::Error::other)?;
                map.append(name, value);
                Ok(Piece::Skip(end + 1))
            }
        }
    }
}

/// Bytes that may wait for the stream's window.
const QUEUE_BYTES: usize = 64 << 10;

/// Sends data on a stream as its window allows.
pub struct Outlet {
    stream: h2::SendStream<Bytes>,
    decoder: Decoder,
    queue: Vec<u8>,
    at: usize,
    ended: bool,
}

impl Outlet {
    pub fn new(stream: h2::SendStream<Bytes>, decoder: Decoder) -> Self {
        let ended = matches!(decoder, Decoder::Done);
        Self { stream, decoder, queue: Vec::new(), at: 0, ended }
    }

    /// Takes `input` when there is room for it; waits for the window while there is none.
    pub fn poll_write(&mut self, task: &mut Task<'_>, input: &[u8]) -> Poll<io::Result<usize>> {
        if self.queue.len() - self.at >= QUEUE_BYTES {
            ready!(self.poll_drain(task))?;
        }
        self.queue.drain(..self.at);
        self.at = 0;
        self.queue.extend_from_slice(input);
        // What cannot be sent yet waits in the queue; the task is woken when it can.
        if let Poll::Ready(Err(error)) = self.poll_drain(task) {
            return Poll::Ready(Err(error));
        }
        Poll::Ready(Ok(input.len()))
    }

    /// Ready when everything whole has been sent.
    pub fn poll_drain(&mut self, task: &mut Task<'_>) -> Poll<io::Result<()>> {
        loop {
            match self.decoder.next(&self.queue[self.at..])? {
                Piece::More => return Poll::Ready(Ok(())),
                Piece::Skip(n) => self.at += n,
                Piece::End(n, trailers) => {
                    self.at += n;
                    self.end(trailers)?;
                }
                Piece::Data(n, last) => {
                    let data = Bytes::copy_from_slice(&self.queue[self.at..self.at + n]);
                    let sent = ready!(self.poll_data(task, data, last))?;
                    self.at += sent;
                    self.decoder.took(sent);
                }
            }
        }
    }

    fn poll_data(&mut self, task: &mut Task<'_>, data: Bytes, last: bool) -> Poll<io::Result<usize>> {
        self.stream.reserve_capacity(data.len());
        let mut capacity = self.stream.capacity();
        if capacity == 0 {
            capacity = match ready!(self.stream.poll_capacity(task)) {
                Some(Ok(capacity)) => capacity,
                Some(Err(error)) => return Poll::Ready(Err(io::Error::other(error))),
                None => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
            };
            if capacity == 0 {
                task.waker().wake_by_ref();
                return Poll::Pending;
            }
        }
        let n = capacity.min(data.len());
        let end = last && n == data.len();
        self.stream.send_data(data.slice(..n), end).map_err(io::Error::other)?;
        self.ended |= end;
        Poll::Ready(Ok(n))
    }

    pub fn end(&mut self, trailers: Option<HeaderMap>) -> io::Result<()> {
        if self.ended {
            return Ok(());
        }
        self.ended = true;
        match trailers {
            Some(trailers) => self.stream.send_trailers(trailers),
            None => self.stream.send_data(Bytes::new(), true),
        }
        .map_err(io::Error::other)
    }

    /// The other side has ended its bytes.
    pub fn close(&mut self) -> io::Result<()> {
        match self.decoder {
            Decoder::UntilClose => self.end(None),
            _ if self.ended => Ok(()),
            _ => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}
