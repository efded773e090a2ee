//! Bytes from socket to socket through a pipe, without a copy into this process (splice(2)).
//!
//! Promises: the same as `http::relay`: half-close, backpressure, an idle limit; without one, the kernel is asked to look for `b`
//! now and then, unless it is soon over (`a` was accepted so). A pipe is made when a direction has
//! something to carry; an idle connection has none.

use std::io;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::task::{Context as Task, Poll, ready};

use rustix::net::SendFlags;
use rustix::pipe::{PipeFlags, SpliceFlags};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;

use super::keepalive;
use crate::http::buffer;
use crate::worker::context::Context;
use crate::worker::deadline::Deadline;

const PIECE_BYTES: usize = 1 << 20;

/// One direction.
#[derive(Default)]
pub struct Pipe {
    ends: Option<(OwnedFd, OwnedFd)>,
    held: usize,
    ended: bool,
    shut: bool,
    /// Much is coming: bytes go through the pipe.
    bulk: bool,
    /// Copied bytes that the socket did not take at once.
    rest: Vec<u8>,
    rest_at: usize,
    bytes: u64,
    /// The socket can be written to, although the event loop has not seen it yet.
    fresh: bool,
}

fn open() -> io::Result<(OwnedFd, OwnedFd)> {
    let ends = rustix::pipe::pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
    // More than 64 KiB in the pipe halves the number of calls; not being allowed more is no failure.
    let _ = rustix::pipe::fcntl_setpipe_size(&ends.1, PIECE_BYTES / 4);
    Ok(ends)
}

impl Pipe {
    /// Moves what can be moved, at most `left` bytes; ready at the end of the stream or when `left` is 0.
    pub fn poll_move(
        &mut self,
        task: &mut Task<'_>,
        from: &TcpStream,
        to: &TcpStream,
        left: &mut u64,
        moved: &mut bool,
    ) -> Poll<io::Result<()>> {
        loop {
            while self.held > 0 {
                let Some((reading, _)) = &self.ends else { return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())) };
                ready!(to.poll_write_ready(task))?;
                let flags = SpliceFlags::MOVE | SpliceFlags::NONBLOCK;
                let sent = to.try_io(Interest::WRITABLE, || {
                    Ok(rustix::pipe::splice(reading, None, to, None, self.held, flags)?)
                });
                match sent {
                    Ok(n) => {
                        self.held -= n;
                        self.bytes += n as u64;
                        *moved = true;
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(error) => return Poll::Ready(Err(error)),
                }
            }
            if self.ended || *left == 0 {
                return Poll::Ready(Ok(()));
            }
            if from.poll_read_ready(task)?.is_pending() {
                return Poll::Pending;
            }
            if self.ends.is_none() {
                self.ends = Some(open()?);
            }
            let Some((_, writing)) = &self.ends else { return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())) };
            let want = usize::try_from(*left).unwrap_or(PIECE_BYTES).min(PIECE_BYTES);
            let flags = SpliceFlags::MOVE | SpliceFlags::NONBLOCK;
            match from.try_io(Interest::READABLE, || Ok(rustix::pipe::splice(from, None, writing, None, want, flags)?))
            {
                Ok(0) => self.ended = true,
                Ok(n) => {
                    self.held += n;
                    *left = left.saturating_sub(n as u64);
                    *moved = true;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    /// Little is copied, which costs less; as soon as a read fills its buffer, the rest goes through the pipe.
    fn poll_direction(
        &mut self,
        task: &mut Task<'_>,
        context: &Context,
        from: &mut TcpStream,
        to: &mut TcpStream,
        moved: &mut bool,
    ) -> Poll<io::Result<()>> {
        loop {
            while let Some(rest) = self.rest.get(self.rest_at..).filter(|rest| !rest.is_empty()) {
                self.rest_at += ready!(Pin::new(&mut *to).poll_write(task, rest))?;
            }
            if self.bulk {
                let polled = self.poll_move(task, from, to, &mut u64::MAX.clone(), moved);
                if polled.is_pending() && self.held == 0 {
                    self.bulk = false;
                    self.ends = None;
                }
                if polled.is_pending() {
                    return Poll::Pending;
                }
                ready!(polled)?;
            }
            if self.ended {
                return Poll::Ready(Ok(()));
            }
            ready!(self.poll_copy(task, context, from, to, moved))?;
        }
    }

    /// Copies once. `poll_read` knows that a read of less than its buffer was the last for now; `try_read` would ask again.
    fn poll_copy(
        &mut self,
        task: &mut Task<'_>,
        context: &Context,
        from: &mut TcpStream,
        to: &mut TcpStream,
        moved: &mut bool,
    ) -> Poll<io::Result<()>> {
        let mut buffer = context.buffers.take();
        let mut space = ReadBuf::new(buffer.spare());
        let polled = Pin::new(from).poll_read(task, &mut space);
        if let Poll::Ready(Ok(())) = &polled {
            let bytes = space.filled();
            *moved = true;
            self.ended = bytes.is_empty();
            self.bytes += bytes.len() as u64;
            self.bulk = bytes.len() == buffer::SMALL_BYTES;
            // What does not go at once waits for the socket.
            let sent = if self.ended { 0 } else { self.send(task, to, bytes) };
            self.rest.clear();
            self.rest_at = 0;
            self.rest.extend_from_slice(&bytes[sent..]);
        }
        context.buffers.give(buffer);
        polled
    }

    /// Sends what goes at once; an error is seen again by whoever sends the rest.
    fn send(&mut self, task: &mut Task<'_>, to: &mut TcpStream, bytes: &[u8]) -> usize {
        if std::mem::take(&mut self.fresh) {
            let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
            return rustix::net::send(&*to, bytes, flags).unwrap_or(0);
        }
        match Pin::new(to).poll_write(task, bytes) {
            Poll::Ready(Ok(sent)) => sent,
            _ => 0,
        }
    }

    fn pass_end_on(&mut self, to: &TcpStream) {
        if !std::mem::replace(&mut self.shut, true) {
            let _ = socket2::SockRef::from(to).shutdown(std::net::Shutdown::Write);
        }
    }
}

/// Carries until both have ended, and leaves it to the caller to close them. Returns the bytes that went from `a` to `b`, and back.
/// `fresh`: `b` has just been connected, and the event loop does not know yet that it can be written to.
pub fn both_ways(
    context: &Context,
    a: &mut TcpStream,
    b: &mut TcpStream,
    fresh: bool,
    deadline: &Deadline,
    idle_seconds: f64,
) -> impl Future<Output = (u64, u64)> {
    let mut up = Pipe { fresh, ..Pipe::default() };
    let mut down = Pipe::default();
    let limited = idle_seconds > 0.0;
    deadline.set(if limited { idle_seconds } else { keepalive::AFTER_SECONDS });
    std::future::poll_fn(move |task| {
        let mut moved = false;
        let first = up.poll_direction(task, context, a, b, &mut moved);
        let second = down.poll_direction(task, context, b, a, &mut moved);
        let over = Poll::Ready((up.bytes, down.bytes));
        match (first, second) {
            (Poll::Ready(Err(_)), _) | (_, Poll::Ready(Err(_))) => return over,
            (Poll::Ready(_), Poll::Ready(_)) => return over,
            (Poll::Ready(_), Poll::Pending) => up.pass_end_on(b),
            (Poll::Pending, Poll::Ready(_)) => down.pass_end_on(a),
            (Poll::Pending, Poll::Pending) => {}
        }
        if moved && limited {
            deadline.set(idle_seconds);
        }
        if deadline.passed(task) {
            if limited {
                return over;
            }
            keepalive::ask((&*b).into());
            deadline.set(0.0);
        }
        Poll::Pending
    })
}
