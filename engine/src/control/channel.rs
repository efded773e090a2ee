//! A control connection on tokio: frames in, frames out, with descriptors.
//!
//! Promises: `receive` is safe to cancel; frames that were sent first arrive first. Refuses: nothing of the content;
//! that is `wire`'s.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use serde::Serialize;
use tokio::io::Interest;
use tokio::net::UnixStream;

use super::frame;

pub struct Channel {
    stream: UnixStream,
    reader: frame::FrameReader,
}

impl Channel {
    pub fn new(stream: UnixStream) -> Self {
        Self { stream, reader: frame::FrameReader::default() }
    }

    /// From any connected Unix stream descriptor, such as an inherited one.
    pub fn from_fd(fd: OwnedFd) -> io::Result<Self> {
        let stream = std::os::unix::net::UnixStream::from(fd);
        stream.set_nonblocking(true)?;
        Ok(Self::new(UnixStream::from_std(stream)?))
    }

    /// The next frame's JSON; `None` when the peer closed.
    pub async fn receive(&mut self) -> io::Result<Option<Vec<u8>>> {
        loop {
            if let Some(body) = self.reader.next_frame()? {
                return Ok(Some(body));
            }
            let Self { stream, reader } = self;
            let read = stream.async_io(Interest::READABLE, || reader.read_from(stream.as_fd())).await?;
            if read == 0 {
                return Ok(None);
            }
        }
    }

    /// The descriptors that came with the frame just received.
    pub fn take_fds(&mut self, count: usize) -> Vec<OwnedFd> {
        self.reader.take_fds(count)
    }

    pub async fn send<T: Serialize>(&self, message: &T) -> io::Result<()> {
        self.send_raw(&serde_json::to_vec(message)?, &[]).await
    }

    /// Sends a frame whose JSON is there already; descriptors go with its first byte.
    pub async fn send_raw(&self, json: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        let bytes = frame::encode(json);
        let mut sent = 0;
        let mut fds = fds;
        while sent < bytes.len() {
            // A frame with more descriptors than one message may carry spreads them over its first bytes.
            let now = &fds[..fds.len().min(frame::MAX_FDS_PER_SEND)];
            let more = fds.len() > now.len();
            let piece = if more { &bytes[sent..=sent] } else { &bytes[sent..] };
            sent += self.stream.async_io(Interest::WRITABLE, || frame::send(self.stream.as_fd(), piece, now)).await?;
            fds = &fds[now.len()..];
        }
        Ok(())
    }
}
