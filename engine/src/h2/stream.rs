//! One stream's state (RFC 9113, 5): what has come and was not read, what may still come, what may be sent.

use std::io::Write;
use std::task::Waker;

use super::frame::Reason;
use super::message::Head;
use super::websocket;

#[derive(Default)]
pub struct Stream {
    pub id: u32,
    /// What came, as HTTP/1.1 bytes, and how much of it was read.
    pub inbound: Vec<u8>,
    pub at: usize,
    /// The peer may send more; we may.
    pub receiving: bool,
    pub sending: bool,
    /// The head has come (a response's own, not an informational one).
    pub headed: bool,
    /// Data is shown in chunks.
    pub chunked: bool,
    /// Trailers of a message that told its length: they have no place in what came, nor had they an announcement.
    pub trailers: Vec<u8>,
    /// What is left of the length that the head told.
    pub expected: Option<u64>,
    /// The request was HEAD: the response's length says nothing of its body.
    pub head_method: bool,
    /// The stream is to become a WebSocket: the key that HTTP/1.1's side of it has.
    pub websocket: Option<Box<str>>,
    /// What we may send, and the peer.
    pub window: i64,
    pub credit: i64,
    /// Data that nobody has read, and data that was read but not given back to the peer's window.
    pub unread: u32,
    pub owed: u32,
    pub failed: Option<Reason>,
    pub reader: Option<Waker>,
    pub writer: Option<Waker>,
}

impl Stream {
    pub fn new(id: u32, inbound: Vec<u8>, window: i64, credit: i64) -> Self {
        Self { id, inbound, window, credit, receiving: true, sending: true, ..Self::default() }
    }

    pub fn wake_reader(&mut self) {
        if let Some(waker) = self.reader.take() {
            waker.wake();
        }
    }

    pub fn wake_writer(&mut self) {
        if let Some(waker) = self.writer.take() {
            waker.wake();
        }
    }

    /// Everything has come and was read.
    pub fn read_whole(&self) -> bool {
        !self.receiving && self.at == self.inbound.len()
    }

    /// A length was told, and more may come behind the body, or has.
    pub fn ends_apart(&self) -> bool {
        self.expected.is_some() && !self.chunked && (self.receiving || !self.trailers.is_empty())
    }

    /// Ends a head's text with how its body comes. HTTP/1.1 has trailers only with chunks, so who expects trailers gets
    /// chunks, whatever the length.
    pub fn frame_body(&mut self, head: &Head, bodyless: bool, ended: bool) {
        self.expected = if bodyless { Some(0) } else { head.length };
        self.chunked = !bodyless && !ended && (head.length.is_none() || head.trailers);
        if self.chunked {
            self.inbound.extend_from_slice(b"transfer-encoding: chunked\r\n");
        } else if let Some(length) = head.length {
            let _ = write!(self.inbound, "content-length: {length}\r\n");
        } else if ended && !bodyless && head.status >= 200 {
            self.inbound.extend_from_slice(b"content-length: 0\r\n");
        }
        self.inbound.extend_from_slice(b"\r\n");
    }

    /// Ends a request's head that asks for a WebSocket; what follows are its bytes.
    pub fn begin_websocket(&mut self, key: String) {
        let _ = write!(self.inbound, "{}: {key}\r\n\r\n", websocket::KEY);
        self.websocket = Some(key.into());
    }

    /// The backend takes it: the head that begins there becomes the one that HTTP/1.1 has for it.
    pub fn switch(&mut self, from: usize) {
        let line = memchr::memchr(b'\n', &self.inbound[from..]).map_or(from, |at| from + at + 1);
        self.inbound.splice(from..line, websocket::SWITCHED.iter().copied());
        let accept = websocket::accept(self.websocket.as_deref().unwrap_or(""));
        let _ = write!(self.inbound, "{}: {accept}\r\n\r\n", websocket::ACCEPT);
    }

    /// Takes data in; false when it is more than the head said.
    #[must_use]
    pub fn take(&mut self, data: &[u8]) -> bool {
        if let Some(left) = &mut self.expected {
            match left.checked_sub(data.len() as u64) {
                Some(less) => *left = less,
                None => return false,
            }
        }
        if self.at > self.inbound.len() - self.at {
            // Whoever reads and never comes to the end must not make it grow.
            self.inbound.drain(..self.at);
            self.at = 0;
        }
        if !self.chunked {
            self.inbound.extend_from_slice(data);
        } else if !data.is_empty() {
            let _ = write!(self.inbound, "{:x}\r\n", data.len());
            self.inbound.extend_from_slice(data);
            self.inbound.extend_from_slice(b"\r\n");
        }
        self.unread += data.len() as u32;
        true
    }

    /// The peer has ended its side; `trailers` are lines. False when data is missing.
    #[must_use]
    pub fn end(&mut self, trailers: &[u8]) -> bool {
        self.receiving = false;
        if self.chunked {
            self.inbound.extend_from_slice(b"0\r\n");
            self.inbound.extend_from_slice(trailers);
            self.inbound.extend_from_slice(b"\r\n");
        } else {
            self.trailers.extend_from_slice(trailers);
        }
        self.expected.is_none_or(|left| left == 0)
    }
}
