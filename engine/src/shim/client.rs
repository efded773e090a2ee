//! One connection to `shim.sock`: frames in, frames out, without blocking and with bounds.

use std::io::{self, Read, Write};
use std::os::fd::BorrowedFd;
use std::os::unix::net::UnixStream;

use serde::Serialize;

use crate::control::frame;

/// No request is near this; an exec's answer is bounded by its own limit.
const MOST_IN_BYTES: usize = 8 << 20;
/// A stream's output waits in its pipe above this.
const ENOUGH_OUT_BYTES: usize = 256 << 10;
/// A client that does not read what a container prints is let go.
const MOST_STREAM_BYTES: usize = 4 << 20;
/// A client that does not read its answers is let go.
const MOST_OUT_BYTES: usize = 32 << 20;

/// What a connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Requests and answers in JSON.
    Requests,
    /// The standard streams of this child: frames of one byte (the channel) and its bytes.
    Streams { pid: i32 },
}

pub struct Client {
    pub stream: UnixStream,
    pub mode: Mode,
    /// Let go once all was sent.
    pub closing: bool,
    input: Vec<u8>,
    output: Vec<u8>,
}

impl Client {
    /// Takes a connection of the same user or root.
    pub fn accept(stream: UnixStream) -> io::Result<Self> {
        // rustix refuses the answer when the peer is outside of our PID namespace (its pid is 0 then).
        let peer = nix::sys::socket::getsockopt(&stream, nix::sys::socket::sockopt::PeerCredentials)?.uid();
        if peer != 0 && peer != nix::unistd::geteuid().as_raw() {
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, format!("user {peer} may not connect")));
        }
        stream.set_nonblocking(true)?;
        Ok(Self { stream, mode: Mode::Requests, closing: false, input: Vec::new(), output: Vec::new() })
    }

    pub fn has_output(&self) -> bool {
        !self.output.is_empty()
    }

    /// Reads what is there. An error when the connection is over.
    pub fn receive(&mut self) -> io::Result<Vec<Vec<u8>>> {
        let mut piece = [0u8; 8192];
        let over = loop {
            match self.stream.read(&mut piece) {
                Ok(0) => break true,
                Ok(length) => self.input.extend_from_slice(&piece[..length]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break false,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        };
        let frames = self.take_frames()?;
        if over && frames.is_empty() { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(frames) }
    }

    fn take_frames(&mut self) -> io::Result<Vec<Vec<u8>>> {
        let mut frames = Vec::new();
        let mut start = 0;
        while let Some(head) = self.input[start..].first_chunk::<4>() {
            let length = u32::from_be_bytes(*head) as usize;
            if length > MOST_IN_BYTES {
                return Err(io::Error::new(io::ErrorKind::InvalidData, format!("a request of {length} bytes")));
            }
            let Some(body) = self.input[start..].get(4..4 + length) else { break };
            frames.push(body.to_vec());
            start += 4 + length;
        }
        self.input.drain(..start);
        if self.input.is_empty() {
            self.input = Vec::new();
        }
        Ok(frames)
    }

    pub fn send<T: Serialize>(&mut self, message: &T) -> io::Result<()> {
        let json = serde_json::to_vec(message)?;
        self.output.extend_from_slice(&frame::encode(&json));
        self.flush()?;
        if self.output.len() > MOST_OUT_BYTES {
            return Err(io::Error::other("a client does not read"));
        }
        Ok(())
    }

    /// Whether a child's output has to wait for this client.
    pub fn is_full(&self) -> bool {
        self.output.len() > ENOUGH_OUT_BYTES
    }

    /// Bytes of a channel (docs/protocol.md, streams).
    pub fn send_bytes(&mut self, channel: u8, bytes: &[u8]) -> io::Result<()> {
        self.output.extend_from_slice(&(bytes.len() as u32 + 1).to_be_bytes());
        self.output.push(channel);
        self.output.extend_from_slice(bytes);
        self.flush()?;
        if self.output.len() > MOST_STREAM_BYTES {
            return Err(io::Error::other("a client does not read"));
        }
        Ok(())
    }

    /// A message with a descriptor. Only for answers so small that they fit into any socket's buffer.
    pub fn send_with<T: Serialize>(&mut self, message: &T, fd: BorrowedFd<'_>) -> io::Result<()> {
        self.flush()?;
        let bytes = frame::encode(&serde_json::to_vec(message)?);
        let sent = if self.output.is_empty() { frame::send(&self.stream, &bytes, &[fd])? } else { 0 };
        if sent == bytes.len() { Ok(()) } else { Err(io::Error::other("a client does not read")) }
    }

    pub fn flush(&mut self) -> io::Result<()> {
        while !self.output.is_empty() {
            match self.stream.write(&self.output) {
                Ok(length) => drop(self.output.drain(..length)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.output = Vec::new();
        Ok(())
    }

    /// The last words before this process ends: waits a moment for a slow reader.
    pub fn flush_at_end(&mut self) {
        let _ = self.stream.set_nonblocking(false);
        let _ = self.stream.set_write_timeout(Some(std::time::Duration::from_secs(1)));
        let _ = self.flush();
    }
}
