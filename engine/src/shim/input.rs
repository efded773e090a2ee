//! A child's standard input: what clients sent and it has not read yet.
//!
//! Promises: nothing blocks; at most about `MOST_WAITING_BYTES` wait here, because a client is not read from while more
//! do. Input is closed after what was sent before its end has been written.

use std::os::fd::OwnedFd;

/// Above this the client waits.
pub const MOST_WAITING_BYTES: usize = 256 << 10;
/// The terminal's character for the end of input.
const END_OF_TRANSMISSION: u8 = 4;

#[derive(Default)]
pub struct Input {
    fd: Option<OwnedFd>,
    waiting: Vec<u8>,
    ended: bool,
}

impl Input {
    pub fn new(fd: Option<OwnedFd>) -> Self {
        Self { fd, waiting: Vec::new(), ended: false }
    }

    /// The descriptor to wait for, while something waits for it.
    pub fn wanting(&self) -> Option<&OwnedFd> {
        self.fd.as_ref().filter(|_| !self.waiting.is_empty())
    }

    pub fn terminal(&self) -> Option<&OwnedFd> {
        self.fd.as_ref()
    }

    pub fn is_open(&self) -> bool {
        self.fd.is_some() && !self.ended
    }

    pub fn is_full(&self) -> bool {
        self.waiting.len() > MOST_WAITING_BYTES
    }

    pub fn push(&mut self, bytes: &[u8]) {
        if self.is_open() {
            self.waiting.extend_from_slice(bytes);
            self.flush();
        }
    }

    /// No more comes. A terminal stays open for its output; the process is told by the terminal's own character.
    pub fn end(&mut self, terminal: bool) {
        if terminal {
            self.push(&[END_OF_TRANSMISSION]);
        }
        self.ended = true;
        self.flush();
    }

    pub fn flush(&mut self) {
        let Some(fd) = &self.fd else { return };
        while !self.waiting.is_empty() {
            match rustix::io::write(fd, &self.waiting) {
                Ok(length) => drop(self.waiting.drain(..length)),
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::AGAIN) => return,
                // Nobody reads any more.
                Err(_) => {
                    self.waiting = Vec::new();
                    self.ended = true;
                }
            }
        }
        self.waiting = Vec::new();
        if self.ended {
            self.fd = None;
        }
    }
}
