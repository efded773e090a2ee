//! What goes out: header blocks, data within the windows, the end.

use super::super::frame::{HEADER_BYTES, Header, MAX_PAYLOAD_BYTES, flag, kind};
use super::*;

impl Connection {
    /// What the socket should get next.
    pub fn pending(&self) -> &[u8] {
        &self.output[self.sent..]
    }

    /// The socket took so much.
    pub fn wrote(&mut self, n: usize) {
        self.sent += n;
        if self.sent == self.output.len() {
            self.output.clear();
            self.sent = 0;
            self.tail = None;
        } else if self.tail.is_some_and(|(_, at)| at < self.sent) {
            self.tail = None;
        }
        if self.starved && !self.is_crowded() {
            self.starved = false;
            self.wake_writers();
        }
    }

    /// Gives it memory for the output, when it has none.
    pub fn lend_output(&mut self, memory: impl FnOnce() -> Vec<u8>) {
        if self.output.capacity() == 0 {
            self.output = memory();
        }
    }

    /// Takes the memory back, when there is nothing in it.
    pub fn return_output(&mut self, take: impl FnOnce(Vec<u8>)) {
        if self.output.is_empty() && self.output.capacity() > 0 {
            take(std::mem::take(&mut self.output));
        }
    }

    /// More should not be written, nor read, until the socket has taken something.
    pub fn is_crowded(&self) -> bool {
        self.output.len() - self.sent >= BACKLOG_BYTES
    }

    pub(super) fn wake_writers(&mut self) {
        for (_, stream) in &mut self.streams {
            stream.wake_writer();
        }
    }

    /// Writes a header block that `fill` makes; `end`: nothing follows on this stream.
    pub fn send_fields(&mut self, key: usize, end: bool, fill: impl FnOnce(&mut Encoder, &mut Vec<u8>)) {
        let stream = &mut self.streams[key];
        if stream.failed.is_some() || !stream.sending || self.dead {
            return;
        }
        stream.sending = !end;
        let id = stream.id;
        let from = self.output.len();
        self.output.extend_from_slice(&[0; HEADER_BYTES]);
        self.encoder.begin(&mut self.output);
        fill(&mut self.encoder, &mut self.output);
        let length = self.output.len() - from - HEADER_BYTES;
        let end = if end { flag::END_STREAM } else { 0 };
        if length <= MAX_PAYLOAD_BYTES {
            let header = Header { length, kind: kind::HEADERS, flags: flag::END_HEADERS | end, stream: id };
            self.output[from..from + HEADER_BYTES].copy_from_slice(&header.bytes());
        } else {
            self.split(from, id, end);
        }
        self.tail = None;
        self.nudge();
    }

    /// A block that is too large for one frame.
    fn split(&mut self, from: usize, stream: u32, end: u8) {
        let block = self.output.split_off(from);
        let mut pieces = block[HEADER_BYTES..].chunks(MAX_PAYLOAD_BYTES).peekable();
        let (mut kind, mut flags) = (kind::HEADERS, end);
        while let Some(piece) = pieces.next() {
            flags |= if pieces.peek().is_none() { flag::END_HEADERS } else { 0 };
            Header { length: piece.len(), kind, flags, stream }.write(&mut self.output);
            self.output.extend_from_slice(piece);
            (kind, flags) = (kind::CONTINUATION, 0);
        }
    }

    /// Sends as much of `data` as the windows let; waits while that is nothing. `end`: when all of it went, it was all.
    pub fn poll_send(&mut self, key: usize, task: &Task<'_>, data: &[u8], end: bool) -> Poll<io::Result<usize>> {
        let stream = &mut self.streams[key];
        if stream.failed.is_some() || !stream.sending || self.dead {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let room = usize::try_from(stream.window.min(self.window)).unwrap_or(0);
        let crowded = self.output.len() - self.sent >= BACKLOG_BYTES;
        if (room == 0 && !data.is_empty()) || crowded {
            self.starved |= crowded;
            keep_waker(&mut stream.writer, task);
            return Poll::Pending;
        }
        let n = room.min(data.len());
        stream.window -= n as i64;
        self.window -= n as i64;
        let id = stream.id;
        let end = end && n == data.len();
        stream.sending = !end;
        self.append(id, &data[..n]);
        if end {
            self.mark_end(id);
        }
        self.nudge();
        Poll::Ready(Ok(n))
    }

    /// Where the output's last frame begins, if it is one of the stream's data and has room. Others may have come behind it.
    fn open_tail(&self, stream: u32) -> Option<usize> {
        let (_, at) = self.tail.filter(|(id, _)| *id == stream)?;
        let [a, b, c] = *self.output[at..].first_chunk()?;
        let length = u32::from_be_bytes([0, a, b, c]) as usize;
        (length < MAX_PAYLOAD_BYTES && at + HEADER_BYTES + length == self.output.len()).then_some(at)
    }

    fn append(&mut self, stream: u32, mut data: &[u8]) {
        while !data.is_empty() {
            let at = match self.open_tail(stream) {
                Some(at) => at,
                None => {
                    let at = self.output.len();
                    Header { length: 0, kind: kind::DATA, flags: 0, stream }.write(&mut self.output);
                    self.tail = Some((stream, at));
                    at
                }
            };
            let before = self.output.len() - at - HEADER_BYTES;
            let (piece, rest) = data.split_at(data.len().min(MAX_PAYLOAD_BYTES - before));
            self.output.extend_from_slice(piece);
            let [_, a, b, c] = ((before + piece.len()) as u32).to_be_bytes();
            self.output[at..at + 3].copy_from_slice(&[a, b, c]);
            data = rest;
        }
    }

    /// The last frame in the output ends the stream, if it is one of its DATA frames; else an empty one does.
    fn mark_end(&mut self, stream: u32) {
        match self.tail {
            Some((id, at)) if id == stream => self.output[at + 4] |= flag::END_STREAM,
            _ => {
                let header = Header { length: 0, kind: kind::DATA, flags: flag::END_STREAM, stream };
                header.write(&mut self.output);
            }
        }
        self.tail = None;
    }

    /// Ends our side of the stream.
    pub fn end(&mut self, key: usize) {
        let stream = &mut self.streams[key];
        if std::mem::take(&mut stream.sending) && stream.failed.is_none() && !self.dead {
            let id = stream.id;
            self.mark_end(id);
            self.nudge();
        }
    }
}
