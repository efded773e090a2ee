//! One connection of the master's, to the controller or to the worker: frames with descriptors, without blocking.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use crate::control::frame::{self, FrameReader};

/// A peer that lets this much pile up is let go (a worker: is asked no more until it has read).
pub const MOST_OUT_BYTES: usize = 128 << 20;

pub struct Link {
    pub stream: UnixStream,
    pub reader: FrameReader,
    out: VecDeque<Piece>,
    out_bytes: usize,
}

struct Piece {
    bytes: Vec<u8>,
    sent: usize,
    fds: Vec<Arc<OwnedFd>>,
}

impl Link {
    pub fn new(stream: UnixStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        Ok(Self { stream, reader: FrameReader::default(), out: VecDeque::new(), out_bytes: 0 })
    }

    pub fn has_output(&self) -> bool {
        !self.out.is_empty()
    }

    pub fn is_full(&self) -> bool {
        self.out_bytes > MOST_OUT_BYTES
    }

    /// Reads what is there; `false` when the peer has closed.
    pub fn fill(&mut self) -> io::Result<bool> {
        loop {
            match self.reader.read_from(&self.stream) {
                Ok(0) => return Ok(false),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(true),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    pub fn send<T: Serialize>(&mut self, message: &T) -> io::Result<()> {
        self.send_raw(&serde_json::to_vec(message)?, Vec::new())
    }

    pub fn send_raw(&mut self, json: &[u8], fds: Vec<Arc<OwnedFd>>) -> io::Result<()> {
        let bytes = frame::encode(json);
        self.out_bytes += bytes.len();
        self.out.push_back(Piece { bytes, sent: 0, fds });
        self.flush()
    }

    pub fn flush(&mut self) -> io::Result<()> {
        while let Some(piece) = self.out.front_mut() {
            // More descriptors than one message carries are spread over a frame's first bytes.
            let now = piece.fds.len().min(frame::MAX_FDS_PER_SEND);
            let fds: Vec<_> = piece.fds[..now].iter().map(|fd| fd.as_fd()).collect();
            let end = if piece.fds.len() > now { piece.sent + 1 } else { piece.bytes.len() };
            match frame::send(&self.stream, &piece.bytes[piece.sent..end], &fds) {
                Ok(length) => {
                    piece.fds.drain(..now);
                    piece.sent += length;
                    self.out_bytes -= length;
                    if piece.sent == piece.bytes.len() {
                        self.out.pop_front();
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Sends all that is queued, waiting a moment for a slow peer.
    pub fn flush_whole(&mut self) -> io::Result<()> {
        self.stream.set_nonblocking(false)?;
        self.stream.set_write_timeout(Some(Duration::from_secs(1)))?;
        let flushed = self.flush();
        self.stream.set_write_timeout(None)?;
        self.stream.set_nonblocking(true)?;
        if flushed.is_ok() && self.has_output() { Err(io::ErrorKind::TimedOut.into()) } else { flushed }
    }
}
