//! Moves a backend connection's bytes.

use std::io;
use std::pin::Pin;
use std::task::{Context as Task, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::h2::pipe::Shared;
use crate::worker::turn;

const READ_BYTES: usize = 16 << 10;
/// Reads in a row before others on this thread get their turn.
const MOST_READS: u32 = 8;
const PARTING: Duration = Duration::from_secs(1);

struct Driver<T> {
    connection: Shared,
    io: T,
    /// What was read and is not a whole frame yet: `input[start..end]`.
    input: Vec<u8>,
    start: usize,
    end: usize,
    /// The socket (or TLS before it) has taken bytes and not said that they are gone.
    flushing: bool,
}

pub async fn drive<T: AsyncRead + AsyncWrite + Unpin>(connection: Shared, io: T) {
    let mut driver = Driver { connection, io, input: Vec::new(), start: 0, end: 0, flushing: false };
    let ended = tokio::task::unconstrained(std::future::poll_fn(|task| driver.poll(task))).await;
    driver.connection.borrow_mut().die(None);
    if ended.is_ok() {
        // Who does not read makes no room for TLS' goodbye, and is not waited for.
        let goodbye = std::future::poll_fn(|task| Pin::new(&mut driver.io).poll_shutdown(task));
        let _ = tokio::time::timeout(PARTING, goodbye).await;
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> Driver<T> {
    /// Ready when the connection is over.
    fn poll(&mut self, task: &mut Task<'_>) -> Poll<io::Result<()>> {
        self.connection.borrow_mut().take_driver();
        for _ in 0..MOST_READS {
            let read = self.poll_fill(task)?;
            let flushed = self.poll_flush(task)?;
            if flushed.is_ready() && self.connection.borrow().is_over() {
                return Poll::Ready(Ok(()));
            }
            if read.is_pending() {
                self.connection.borrow_mut().set_driver(task);
                return Poll::Pending;
            }
        }
        turn::give_way(task);
        Poll::Pending
    }

    fn poll_fill(&mut self, task: &mut Task<'_>) -> Poll<io::Result<()>> {
        if self.connection.borrow().is_dead() {
            return Poll::Pending;
        }
        if self.start > 0 {
            self.input.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        if self.end == self.input.len() {
            self.input.resize(self.end + READ_BYTES, 0);
        }
        let mut space = ReadBuf::new(&mut self.input[self.end..]);
        let polled = Pin::new(&mut self.io).poll_read(task, &mut space)?;
        let n = space.filled().len();
        if polled.is_pending() {
            if self.end == 0 {
                self.input = Vec::new(); // an idle connection holds no buffer
            }
            return Poll::Pending;
        }
        if n == 0 {
            return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
        }
        self.end += n;
        let mut connection = self.connection.borrow_mut();
        match connection.receive(&self.input[..self.end]) {
            Ok(used) if used == self.end => (self.start, self.end) = (0, 0),
            Ok(used) => self.start = used,
            Err(fatal) => connection.die(Some(fatal)),
        }
        Poll::Ready(Ok(()))
    }

    /// Ready when nothing is left to be sent.
    fn poll_flush(&mut self, task: &mut Task<'_>) -> Poll<io::Result<()>> {
        let mut connection = self.connection.borrow_mut();
        while !connection.pending().is_empty() {
            let n = ready!(Pin::new(&mut self.io).poll_write(task, connection.pending()))?;
            if n == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            connection.wrote(n);
            self.flushing = true;
        }
        if self.flushing {
            ready!(Pin::new(&mut self.io).poll_flush(task))?;
            self.flushing = false;
        }
        Poll::Ready(Ok(()))
    }
}
