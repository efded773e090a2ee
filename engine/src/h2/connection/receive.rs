//! What comes in, frame by frame, and what is refused of it (RFC 9113, 5 and 6).
//!
//! A stream's fault ends the stream (RST_STREAM), the connection's the connection (`Fatal`).

use super::super::calm;
use super::super::frame::{HEADER_BYTES, Header, MAX_PAYLOAD_BYTES, PREFACE, flag, kind};
use super::headers::Block;
use super::*;

/// How far the input is.
pub(super) struct Receiving {
    /// How much of the preface is still to come.
    preface: usize,
    /// The first frame has to be SETTINGS.
    pub greeted: bool,
    /// A header block whose end has not come.
    pub block: Option<Block>,
    data: Option<Data>,
}

/// A DATA frame whose payload is coming.
#[derive(Clone, Copy)]
struct Data {
    stream: u32,
    left: usize,
    padding: usize,
    end: bool,
}

impl Receiving {
    pub fn new(server: bool) -> Self {
        Self { preface: if server { PREFACE.len() } else { 0 }, greeted: false, block: None, data: None }
    }

    pub fn within_block(&self) -> bool {
        self.block.is_some() || !self.greeted
    }
}

pub(super) fn fatal<T>(reason: Reason) -> Result<T, Fatal> {
    Err(Fatal(reason))
}

impl Connection {
    /// Takes in what it can and says how much that was; the rest is to be shown again with more behind it.
    pub fn receive(&mut self, input: &[u8]) -> Result<usize, Fatal> {
        let mut used = self.take_preface(input)?;
        loop {
            if let Some(data) = self.receiving.data {
                used += self.take_data(data, &input[used..])?;
                if self.receiving.data.is_some() {
                    return Ok(used);
                }
            }
            let rest = &input[used..];
            let Some(header) = Header::parse(rest) else { return Ok(used) };
            if header.length > MAX_PAYLOAD_BYTES {
                return fatal(Reason::FRAME_SIZE_ERROR);
            }
            if header.kind == kind::DATA {
                let padded = usize::from(header.has(flag::PADDED));
                let Some(before) = rest.get(HEADER_BYTES..HEADER_BYTES + padded.min(header.length)) else {
                    return Ok(used);
                };
                self.begin_data(header, padded, before.first().copied())?;
                used += HEADER_BYTES + padded;
                continue;
            }
            let Some(payload) = rest.get(HEADER_BYTES..HEADER_BYTES + header.length) else { return Ok(used) };
            self.take_frame(header, payload)?;
            used += HEADER_BYTES + header.length;
        }
    }

    fn take_preface(&mut self, input: &[u8]) -> Result<usize, Fatal> {
        let left = self.receiving.preface.min(input.len());
        let at = PREFACE.len() - self.receiving.preface;
        if input[..left] != PREFACE[at..at + left] {
            return fatal(Reason::PROTOCOL_ERROR);
        }
        self.receiving.preface -= left;
        Ok(left)
    }

    pub(super) fn spend(&mut self, tokens: u32) -> Result<(), Fatal> {
        if self.limits.role == Role::Server && !self.calm.spend(tokens, (self.limits.clock)()) {
            return fatal(Reason::ENHANCE_YOUR_CALM);
        }
        Ok(())
    }

    fn take_frame(&mut self, header: Header, payload: &[u8]) -> Result<(), Fatal> {
        if !self.receiving.greeted {
            if header.kind != kind::SETTINGS || header.has(flag::ACK) {
                return fatal(Reason::PROTOCOL_ERROR);
            }
            self.receiving.greeted = true;
        }
        if let Some(block) = &self.receiving.block
            && (header.kind != kind::CONTINUATION || header.stream != block.stream)
        {
            return fatal(Reason::PROTOCOL_ERROR);
        }
        match header.kind {
            kind::HEADERS => self.take_headers(header, payload),
            kind::CONTINUATION => self.take_continuation(header, payload),
            kind::WINDOW_UPDATE => self.take_window_update(header, payload),
            kind::RST_STREAM => self.take_reset(header, payload),
            kind::SETTINGS => self.take_settings(header, payload),
            kind::PING => self.take_ping(header, payload),
            kind::PRIORITY => self.take_priority(header, payload),
            kind::GOAWAY => self.take_goaway(header, payload),
            kind::PUSH_PROMISE => fatal(Reason::PROTOCOL_ERROR),
            _ => self.spend(calm::ODD),
        }
    }

    /// Nobody has opened this stream yet.
    pub(super) fn is_idle(&self, stream: u32) -> bool {
        let ours = (stream % 2 == 1) == (self.limits.role == Role::Client);
        if ours { stream >= self.next_own } else { stream > self.last_peer }
    }

    /// It has ended: did we reset it ourselves? `None`: longer ago than we know, or never used.
    pub(super) fn ended_by_us(&self, stream: u32) -> Option<bool> {
        self.ended.iter().rev().find(|(id, _)| *id == stream).map(|(_, by_us)| *by_us)
    }

    /// Ends a stream for the peer's fault.
    pub(super) fn fail(&mut self, key: usize, reason: Reason) {
        let stream = &mut self.streams[key];
        if stream.failed.is_none() {
            self.faults += 1;
            let id = stream.id;
            frame::write_reset(id, reason, &mut self.output);
            self.remember(id, true);
            self.lose(key, reason);
        }
    }

    pub(super) fn lose(&mut self, key: usize, reason: Reason) {
        let stream = &mut self.streams[key];
        stream.failed = Some(reason);
        (stream.receiving, stream.sending) = (false, false);
        stream.wake_reader();
        stream.wake_writer();
        if self.limits.role == Role::Server {
            self.events.push(Event::Gone(key));
        }
    }

    fn begin_data(&mut self, header: Header, padded: usize, padding: Option<u8>) -> Result<(), Fatal> {
        let padding = usize::from(padding.unwrap_or(0));
        if self.receiving.block.is_some() || !self.receiving.greeted || header.stream == 0 {
            return fatal(Reason::PROTOCOL_ERROR);
        }
        if self.is_idle(header.stream) || header.length < padded + padding {
            return fatal(Reason::PROTOCOL_ERROR);
        }
        self.credit -= header.length as i64;
        if self.credit < 0 {
            return fatal(Reason::FLOW_CONTROL_ERROR);
        }
        let end = header.has(flag::END_STREAM);
        if header.length == 0 && !end {
            self.spend(calm::ODD)?;
        }
        let left = header.length - padded - padding;
        self.receiving.data = Some(Data { stream: header.stream, left, padding, end });
        let overhead = (header.length - left) as u32; // padding is never kept
        self.settle(overhead);
        match self.keys.get(&header.stream).copied() {
            Some(key) if self.streams[key].receiving => {
                let stream = &mut self.streams[key];
                stream.credit -= header.length as i64;
                stream.owed += overhead;
                if stream.credit < 0 {
                    self.fail(key, Reason::FLOW_CONTROL_ERROR);
                } else if !stream.headed {
                    self.fail(key, Reason::PROTOCOL_ERROR);
                }
            }
            Some(key) if self.streams[key].failed.is_none() => self.fail(key, Reason::STREAM_CLOSED),
            _ if self.ended_by_us(header.stream) == Some(true) => {}
            _ => {
                self.spend(calm::ODD)?;
                frame::write_reset(header.stream, Reason::STREAM_CLOSED, &mut self.output);
            }
        }
        Ok(())
    }

    /// Takes in what has come of a DATA frame's payload.
    fn take_data(&mut self, mut data: Data, input: &[u8]) -> Result<usize, Fatal> {
        let n = data.left.min(input.len());
        let skipped = data.padding.min(input.len() - n);
        data.left -= n;
        data.padding -= skipped;
        let whole = data.left == 0 && data.padding == 0;
        self.receiving.data = (!whole).then_some(data);
        match self.keys.get(&data.stream).copied() {
            Some(key) if self.streams[key].receiving => {
                let stream = &mut self.streams[key];
                if !stream.take(&input[..n]) || (whole && data.end && !stream.end(b"")) {
                    self.fail(key, Reason::PROTOCOL_ERROR);
                } else {
                    stream.wake_reader();
                }
            }
            _ => self.settle(n as u32),
        }
        Ok(n + skipped)
    }
}
