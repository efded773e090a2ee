//! Frames over a Unix stream socket: four bytes of length (big endian), then JSON; file descriptors by SCM_RIGHTS.
//!
//! Promises: `FrameReader` takes bytes and descriptors in any pieces and gives whole frames back; descriptors wait in
//! the order they came until a frame asks for as many as it names. Refuses: frames over 64 MiB. No thread, no runtime:
//! callers bring a blocking or a non-blocking descriptor.

use std::collections::VecDeque;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
};

pub const MAX_FRAME_BYTES: usize = 64 << 20;
/// The kernel's own limit is 253 descriptors in one message.
pub const MAX_FDS_PER_SEND: usize = 200;

#[derive(Default)]
pub struct FrameReader {
    buffer: Vec<u8>,
    start: usize,
    fds: VecDeque<OwnedFd>,
}

impl FrameReader {
    /// Reads once. 0 means that the peer closed.
    pub fn read_from(&mut self, socket: impl AsFd) -> io::Result<usize> {
        self.read_at_most::<65536>(socket)
    }

    /// The same, through less memory.
    pub fn read_at_most<const BYTES: usize>(&mut self, socket: impl AsFd) -> io::Result<usize> {
        let mut piece = [0u8; BYTES];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(253))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let received =
            rustix::net::recvmsg(socket, &mut [IoSliceMut::new(&mut piece)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(fds) = message {
                self.fds.extend(fds);
            }
        }
        if self.start > 0 {
            self.buffer.drain(..self.start);
            self.start = 0;
        }
        self.buffer.extend_from_slice(&piece[..received.bytes]);
        Ok(received.bytes)
    }

    /// The next whole frame's JSON, if it is there.
    pub fn next_frame(&mut self) -> io::Result<Option<Vec<u8>>> {
        let rest = &self.buffer[self.start..];
        let Some(head) = rest.first_chunk::<4>() else { return Ok(None) };
        let length = u32::from_be_bytes(*head) as usize;
        if length > MAX_FRAME_BYTES {
            return Err(io::Error::new(io::ErrorKind::InvalidData, format!("a frame of {length} bytes")));
        }
        let Some(body) = rest.get(4..4 + length) else { return Ok(None) };
        let body = body.to_vec();
        self.start += 4 + length;
        Ok(Some(body))
    }

    /// What came of a frame that is not whole yet.
    pub fn rest(&self) -> &[u8] {
        &self.buffer[self.start..]
    }

    /// A reader that goes on where another stopped (`rest`).
    pub fn resume(rest: Vec<u8>) -> Self {
        Self { buffer: rest, ..Self::default() }
    }

    /// The oldest `count` descriptors that came; fewer when fewer came.
    pub fn take_fds(&mut self, count: usize) -> Vec<OwnedFd> {
        self.fds.drain(..count.min(self.fds.len())).collect()
    }
}

/// One frame's bytes with its length in front.
pub fn encode(json: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(json.len() + 4);
    frame.extend_from_slice(&(json.len() as u32).to_be_bytes());
    frame.extend_from_slice(json);
    frame
}

/// Sends what it can of `bytes`, with descriptors on the first byte (at most `MAX_FDS_PER_SEND`).
pub fn send(socket: impl AsFd, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(200))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "too many descriptors for one message"));
    }
    Ok(rustix::net::sendmsg(socket, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL)?)
}
