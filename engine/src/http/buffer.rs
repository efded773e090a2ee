//! Buffers that connections borrow while they have something to hold, and give back while they are idle.
//!
//! Promises: a thread keeps at most `MAX_FREE` of each size for reuse; a buffer's bytes are never shown to another
//! connection (only what was read into it is).

use std::cell::RefCell;

pub const SMALL_BYTES: usize = 16 << 10;
pub const LARGE_BYTES: usize = 128 << 10;
const MAX_FREE: usize = 256;

/// Bytes that were read and not yet used.
#[derive(Default)]
pub struct Buffer {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
}

impl Buffer {
    pub fn filled(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    pub fn has_storage(&self) -> bool {
        !self.bytes.is_empty()
    }

    /// Room to read into; empty only when the buffer is full and may be grown.
    pub fn spare(&mut self) -> &mut [u8] {
        if self.start > 0 && self.start == self.end {
            self.start = 0;
            self.end = 0;
        } else if self.end == self.bytes.len() && self.start > 0 {
            self.bytes.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        &mut self.bytes[self.end..]
    }

    pub fn added(&mut self, n: usize) {
        self.end += n;
    }

    pub fn consume(&mut self, n: usize) {
        self.start += n;
    }

    pub fn grow(&mut self) {
        let size = self.bytes.len() * 2;
        self.bytes.resize(size, 0);
    }
}

#[derive(Default)]
pub struct Buffers {
    small: RefCell<Vec<Vec<u8>>>,
    large: RefCell<Vec<Vec<u8>>>,
    output: RefCell<Vec<Vec<u8>>>,
}

impl Buffers {
    pub fn take(&self) -> Buffer {
        let bytes = self.small.borrow_mut().pop().unwrap_or_else(|| vec![0; SMALL_BYTES]);
        Buffer { bytes, start: 0, end: 0 }
    }

    pub fn take_large(&self) -> Buffer {
        let bytes = self.large.borrow_mut().pop().unwrap_or_else(|| vec![0; LARGE_BYTES]);
        Buffer { bytes, start: 0, end: 0 }
    }

    pub fn give(&self, buffer: Buffer) {
        let list = match buffer.bytes.len() {
            SMALL_BYTES => &self.small,
            LARGE_BYTES => &self.large,
            _ => return,
        };
        let mut list = list.borrow_mut();
        if list.len() < MAX_FREE {
            list.push(buffer.bytes);
        }
    }

    /// An empty vector to write a message into.
    pub fn take_output(&self) -> Vec<u8> {
        self.output.borrow_mut().pop().unwrap_or_else(|| Vec::with_capacity(SMALL_BYTES))
    }

    pub fn give_output(&self, mut output: Vec<u8>) {
        let mut list = self.output.borrow_mut();
        if list.len() < MAX_FREE && output.capacity() <= 2 * SMALL_BYTES && output.capacity() > 0 {
            output.clear();
            list.push(output);
        }
    }
}
