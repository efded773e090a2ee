//! Bytes both ways between two streams, until both have ended: upgraded connections and TCP.
//!
//! Promises: half-close is passed on; no more is read than the other side has taken (backpressure); buffers are held only
//! while there is something in them; with `idle_seconds` above 0 it ends when nothing has moved for so long.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context as Task, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::buffer::Buffer;
use crate::worker::context::Context;
use crate::worker::deadline::Deadline;

/// One direction.
struct Pipe {
    buffer: Buffer,
    ended: bool,
    shut: bool,
    pub bytes: u64,
}

impl Pipe {
    fn new(buffer: Buffer) -> Self {
        Self { buffer, ended: false, shut: false, bytes: 0 }
    }

    /// Ready when this direction is over; `moved` says that something happened.
    fn poll<A, B>(
        &mut self,
        task: &mut Task<'_>,
        context: &Context,
        from: &mut A,
        to: &mut B,
        moved: &mut bool,
    ) -> Poll<io::Result<()>>
    where
        A: AsyncRead + Unpin,
        B: AsyncWrite + Unpin,
    {
        loop {
            let mut flush = false;
            while !self.buffer.is_empty() {
                let n = ready!(Pin::new(&mut *to).poll_write(task, self.buffer.filled()))?;
                if n == 0 {
                    return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
                }
                self.buffer.consume(n);
                self.bytes += n as u64;
                *moved = true;
                flush = true;
            }
            if flush {
                let _ = Pin::new(&mut *to).poll_flush(task)?;
            }
            if self.ended {
                if !self.shut {
                    ready!(Pin::new(&mut *to).poll_shutdown(task))?;
                    self.shut = true;
                }
                return Poll::Ready(Ok(()));
            }
            if !self.buffer.has_storage() {
                self.buffer = context.buffers.take_large();
            }
            let mut space = ReadBuf::new(self.buffer.spare());
            match Pin::new(&mut *from).poll_read(task, &mut space)? {
                Poll::Pending => {
                    let _ = Pin::new(&mut *to).poll_flush(task)?;
                    context.buffers.give(std::mem::take(&mut self.buffer));
                    return Poll::Pending;
                }
                Poll::Ready(()) => {
                    let n = space.filled().len();
                    self.ended = n == 0;
                    self.buffer.added(n);
                    *moved = true;
                }
            }
        }
    }
}

/// Returns the bytes that went from `a` to `b`, and back. `input` is what was read from `a` already.
pub async fn both_ways<A, B>(
    context: &Rc<Context>,
    a: &mut A,
    input: &mut Buffer,
    b: &mut B,
    deadline: &Deadline,
    idle_seconds: f64,
) -> (u64, u64)
where
    A: AsyncRead + AsyncWrite + Unpin,
    B: AsyncRead + AsyncWrite + Unpin,
{
    let mut up = Pipe::new(std::mem::take(input));
    let mut down = Pipe::new(Buffer::default());
    deadline.set(idle_seconds);
    let _: io::Result<()> = std::future::poll_fn(|task| {
        let mut moved = false;
        let first = up.poll(task, context, a, b, &mut moved)?;
        let second = down.poll(task, context, b, a, &mut moved)?;
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
    .await;
    context.buffers.give(up.buffer);
    context.buffers.give(down.buffer);
    (up.bytes, down.bytes)
}
