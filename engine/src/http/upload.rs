//! A request on its way to the backend: its head and body, kept for another try while they are small enough.
//!
//! Promises: reads from the client only what the backend has taken before (backpressure); `rewind` starts over as long
//! as nothing was dropped. Trailers that come behind a body of known length are passed on where the backend can take them.
//! Refuses: a malformed chunked body, one over the limit, a client that ends too early.

use std::pin::Pin;
use std::task::{Context as Task, Poll, ready};

use tokio::io::{AsyncWrite, ReadBuf};

use super::Client;
use super::buffer::Buffer;
use super::chunked::Chunked;
use super::link::Link;
use super::request::Framing;

enum Body {
    Done,
    Length(u64),
    Chunked(Chunked),
    /// All of its length is here; the client has not ended it.
    Open,
}

#[derive(Debug)]
pub enum Failure {
    Client,
    Malformed,
    TooLarge,
    Backend,
}

pub struct Upload {
    pending: Vec<u8>,
    sent: usize,
    body: Body,
    keep_bytes: usize,
    dropped: bool,
    max_body_bytes: u64,
    /// The end comes behind the body's length, and goes on so.
    apart: bool,
    trailers: Option<Box<[u8]>>,
    ended: bool,
    /// Something was read or written since this was last taken.
    pub moved: bool,
}

/// How much of a body is moved at a time.
const PIECE_BYTES: usize = 16 << 10;

impl Upload {
    pub fn new(head: Vec<u8>, framing: Framing, keep_bytes: usize, max_body_bytes: u64) -> Self {
        let body = match framing {
            Framing::Length(n) => Body::Length(n),
            Framing::Chunked => Body::Chunked(Chunked::default()),
            Framing::Empty | Framing::UntilClose => Body::Done,
        };
        let keep_bytes = keep_bytes + head.len();
        Self {
            pending: head,
            sent: 0,
            body,
            keep_bytes,
            dropped: false,
            max_body_bytes,
            apart: false,
            trailers: None,
            ended: false,
            moved: false,
        }
    }

    /// Of a request whose client ends it behind its body's length, for a backend that can be told so.
    pub fn end_apart(&mut self) {
        match self.body {
            Body::Length(1..) => self.apart = true,
            Body::Length(0) | Body::Done => (self.apart, self.body) = (true, Body::Open),
            Body::Chunked(_) | Body::Open => {}
        }
    }

    pub fn done(&self) -> bool {
        self.read_whole() && self.sent == self.pending.len() && self.ended == self.apart
    }

    /// Nothing is left to be read of the client's request.
    pub fn read_whole(&self) -> bool {
        matches!(self.body, Body::Done)
    }

    /// The backend has taken all that the client has sent so far.
    pub fn waits_for_client(&self) -> bool {
        !self.read_whole() && self.sent == self.pending.len()
    }

    pub fn can_rewind(&self) -> bool {
        !self.dropped
    }

    /// The whole request, when nothing of it was dropped.
    pub fn whole(&self) -> Option<&[u8]> {
        (self.read_whole() && !self.dropped).then_some(&self.pending)
    }

    pub fn rewind(&mut self) {
        self.sent = 0;
        self.ended = false;
    }

    pub fn take_storage(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.pending)
    }

    /// Moves the bytes of the body that are in `input` already behind the head, so that one write takes both.
    pub fn take_in(&mut self, input: &mut Buffer) -> Result<(), Failure> {
        while !input.is_empty() && !self.read_whole() {
            let used = self.transfer(input)?;
            if used == 0 {
                break;
            }
        }
        Ok(())
    }

    fn transfer(&mut self, input: &mut Buffer) -> Result<usize, Failure> {
        let filled = input.filled();
        let used = match &mut self.body {
            Body::Done | Body::Open => 0,
            Body::Length(left) => {
                let n = usize::try_from(*left).unwrap_or(usize::MAX).min(filled.len()).min(PIECE_BYTES);
                self.pending.extend_from_slice(&filled[..n]);
                *left -= n as u64;
                if *left == 0 {
                    self.body = if self.apart { Body::Open } else { Body::Done };
                }
                n
            }
            Body::Chunked(decoder) => {
                let used = decoder.transfer(filled, &mut self.pending, false).map_err(|_| Failure::Malformed)?;
                if self.max_body_bytes > 0 && decoder.data_bytes() > self.max_body_bytes {
                    return Err(Failure::TooLarge);
                }
                if decoder.done() {
                    self.body = Body::Done;
                }
                used
            }
        };
        input.consume(used);
        Ok(used)
    }

    /// Ready when the whole request is written.
    pub fn poll<C: Client>(
        &mut self,
        task: &mut Task<'_>,
        client: &mut C,
        input: &mut Buffer,
        backend: &mut Link,
    ) -> Poll<Result<(), Failure>> {
        if self.apart && self.sent == 0 {
            backend.leave_open();
        }
        loop {
            while self.sent < self.pending.len() {
                match ready!(Pin::new(&mut *backend).poll_write(task, &self.pending[self.sent..])) {
                    Ok(0) => return Poll::Ready(Err(Failure::Backend)),
                    Ok(n) => {
                        self.sent += n;
                        self.moved = true;
                    }
                    Err(_) => return Poll::Ready(Err(Failure::Backend)),
                }
            }
            ready!(Pin::new(&mut *backend).poll_flush(task)).map_err(|_| Failure::Backend)?;
            if matches!(self.body, Body::Open) {
                let lines = ready!(client.poll_end(task)).map_err(|_| Failure::Client)?;
                (self.trailers, self.body, self.moved) = (Some(lines.into()), Body::Done, true);
            }
            if let Some(lines) = self.trailers.as_deref().filter(|_| !self.ended) {
                backend.end(lines);
                self.ended = true;
            }
            if self.read_whole() {
                return Poll::Ready(Ok(()));
            }
            if self.pending.len() > self.keep_bytes {
                self.dropped = true;
            }
            if self.dropped {
                self.pending.clear();
                self.sent = 0;
            }
            if self.transfer_or_read(task, client, input)?.is_pending() {
                return Poll::Pending;
            }
        }
    }

    fn transfer_or_read<C: Client>(
        &mut self,
        task: &mut Task<'_>,
        client: &mut C,
        input: &mut Buffer,
    ) -> Result<Poll<()>, Failure> {
        if !input.is_empty() && self.transfer(input)? > 0 {
            return Ok(Poll::Ready(()));
        }
        if input.spare().is_empty() {
            return Err(Failure::Malformed); // a chunk's line that fills a whole buffer
        }
        let mut space = ReadBuf::new(input.spare());
        match Pin::new(client).poll_read(task, &mut space) {
            Poll::Pending => Ok(Poll::Pending),
            Poll::Ready(Ok(())) if !space.filled().is_empty() => {
                let n = space.filled().len();
                input.added(n);
                self.moved = true;
                Ok(Poll::Ready(()))
            }
            Poll::Ready(_) => Err(Failure::Client),
        }
    }
}
