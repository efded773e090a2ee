//! Bytes from socket to socket through a pipe, without a copy into this process (splice(2)).
//!
//! Promises: the same as `http::relay`: half-close, backpressure, an idle limit. A pipe is made when a direction has
//! something to carry; an idle connection has none.

use std::io;
use std::os::fd::OwnedFd;
use std::task::{Context as Task, Poll, ready};

use rustix::pipe::{PipeFlags, SpliceFlags};
use tokio::io::Interest;
use tokio::net::TcpStream;

use crate::worker::deadline::Deadline;

const PIECE_BYTES: usize = 1 << 20;

/// One direction.
#[derive(Default)]
pub struct Pipe {
    ends: Option<(OwnedFd, OwnedFd)>,
    held: usize,
    ended: bool,
    shut: bool,
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
                let more = if *left > 0 && !self.ended { SpliceFlags::MORE } else { SpliceFlags::empty() };
                let flags = SpliceFlags::MOVE | SpliceFlags::NONBLOCK | more;
                let sent = to.try_io(Interest::WRITABLE, || {
                    Ok(rustix::pipe::splice(reading, None, to, None, self.held, flags)?)
                });
                match sent {
                    Ok(n) => {
                        self.held -= n;
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

    pub fn ended(&self) -> bool {
        self.ended
    }

    fn poll_direction(
        &mut self,
        task: &mut Task<'_>,
        from: &TcpStream,
        to: &TcpStream,
        moved: &mut bool,
    ) -> Poll<io::Result<()>> {
        let polled = self.poll_move(task, from, to, &mut u64::MAX.clone(), moved);
        if polled.is_ready() && self.ended && !self.shut {
            self.shut = true;
            let _ = socket2::SockRef::from(to).shutdown(std::net::Shutdown::Write);
        }
        if polled.is_pending() && self.held == 0 {
            self.ends = None;
        }
        polled
    }
}

pub async fn both_ways(a: &TcpStream, b: &TcpStream, deadline: &Deadline, idle_seconds: f64) -> io::Result<()> {
    let (mut up, mut down) = (Pipe::default(), Pipe::default());
    deadline.set(idle_seconds);
    std::future::poll_fn(|task| {
        let mut moved = false;
        let first = up.poll_direction(task, a, b, &mut moved)?;
        let second = down.poll_direction(task, b, a, &mut moved)?;
        if first.is_ready() && second.is_ready() {
            return Poll::Ready(Ok(()));
        }
        if moved {
            deadline.set(idle_seconds);
        }
        if deadline.passed(task) {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        Poll::Pending
    })
    .await
}
