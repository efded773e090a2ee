//! What comes in, frame by frame, and what is refused of it (RFC 9113, 5 and 6).
//!
//! A stream's fault ends the stream (RST_STREAM), the connection's the connection (`Fatal`). A header block is at most as
//! large as the limit for headers and in at most `MOST_CONTINUATIONS` pieces (CVE-2024-27316 and its kin).

use super::super::calm;
use super::super::frame::{HEADER_BYTES, Header, MAX_PAYLOAD_BYTES, PREFACE, flag, kind};
use super::super::message::{self, Refused};
use super::super::settings::MAX_WINDOW;
use super::*;

const MOST_CONTINUATIONS: u32 = 32;

/// How far the input is.
pub(super) struct Receiving {
    /// How much of the preface is still to come.
    preface: usize,
    /// The first frame has to be SETTINGS.
    greeted: bool,
    /// A header block whose end has not come.
    block: Option<Block>,
    data: Option<Data>,
}

struct Block {
    stream: u32,
    end: bool,
    bytes: Vec<u8>,
    pieces: u32,
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

fn fatal<T>(reason: Reason) -> Result<T, Fatal> {
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

    fn spend(&mut self, tokens: u32) -> Result<(), Fatal> {
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
    fn is_idle(&self, stream: u32) -> bool {
        let ours = (stream % 2 == 1) == (self.limits.role == Role::Client);
        if ours { stream >= self.next_own } else { stream > self.last_peer }
    }

    /// It has ended: did we reset it ourselves? `None`: longer ago than we know, or never used.
    fn ended_by_us(&self, stream: u32) -> Option<bool> {
        self.ended.iter().rev().find(|(id, _)| *id == stream).map(|(_, by_us)| *by_us)
    }

    /// Ends a stream for the peer's fault.
    fn fail(&mut self, key: usize, reason: Reason) {
        let stream = &mut self.streams[key];
        if stream.failed.is_none() {
            let id = stream.id;
            frame::write_reset(id, reason, &mut self.output);
            self.remember(id, true);
            self.lose(key, reason);
        }
    }

    fn lose(&mut self, key: usize, reason: Reason) {
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

    fn take_headers(&mut self, header: Header, payload: &[u8]) -> Result<(), Fatal> {
        if header.stream == 0 {
            return fatal(Reason::PROTOCOL_ERROR);
        }
        let mut payload = frame::unpadded(header, payload).ok_or(Fatal(Reason::PROTOCOL_ERROR))?;
        if header.has(flag::PRIORITY) {
            let (priority, rest) = payload.split_at_checked(5).ok_or(Fatal(Reason::FRAME_SIZE_ERROR))?;
            judge_priority(header.stream, priority)?;
            payload = rest;
        }
        let end = header.has(flag::END_STREAM);
        if header.has(flag::END_HEADERS) {
            return self.take_block(header.stream, end, payload);
        }
        self.receiving.block = Some(Block { stream: header.stream, end, bytes: payload.to_vec(), pieces: 0 });
        Ok(())
    }

    fn take_continuation(&mut self, header: Header, payload: &[u8]) -> Result<(), Fatal> {
        let Some(mut block) = self.receiving.block.take() else { return fatal(Reason::PROTOCOL_ERROR) };
        block.pieces += 1;
        block.bytes.extend_from_slice(payload);
        if block.pieces > MOST_CONTINUATIONS || block.bytes.len() > self.limits.max_header_bytes + MAX_PAYLOAD_BYTES {
            return fatal(Reason::ENHANCE_YOUR_CALM);
        }
        if header.has(flag::END_HEADERS) {
            return self.take_block(block.stream, block.end, &block.bytes);
        }
        self.receiving.block = Some(block);
        Ok(())
    }

    fn take_block(&mut self, id: u32, end: bool, block: &[u8]) -> Result<(), Fatal> {
        let judged = match self.keys.get(&id).copied() {
            Some(key) if self.streams[key].failed.is_some() => return self.take_late(id, block),
            Some(key) if !self.streams[key].receiving => {
                message::ignore(&mut self.decoder, block).map(|()| self.fail(key, Reason::STREAM_CLOSED))
            }
            Some(key) if self.streams[key].headed => self.take_trailers(key, end, block),
            Some(key) => self.take_response(key, end, block),
            None => return self.take_unknown(id, end, block),
        };
        judged.or_else(|refused| self.refuse_block(self.keys.get(&id).copied(), refused))
    }

    fn refuse_block(&mut self, key: Option<usize>, refused: Refused) -> Result<(), Fatal> {
        match (refused, key) {
            (Refused::Block, _) => return fatal(Reason::COMPRESSION_ERROR),
            (Refused::Malformed | Refused::TooLarge, Some(key)) => self.fail(key, Reason::PROTOCOL_ERROR),
            (_, None) => {}
        }
        Ok(())
    }

    /// A block for a stream that we do not have.
    fn take_unknown(&mut self, id: u32, end: bool, block: &[u8]) -> Result<(), Fatal> {
        if !self.is_idle(id) {
            return self.take_late(id, block);
        }
        if self.limits.role == Role::Client || id.is_multiple_of(2) {
            return fatal(Reason::PROTOCOL_ERROR);
        }
        self.last_peer = id;
        let late = matches!(self.farewell, Farewell::Said(last) if id > last);
        if late || self.streams.len() >= self.limits.max_streams as usize {
            message::ignore(&mut self.decoder, block).or(fatal(Reason::COMPRESSION_ERROR))?;
            frame::write_reset(id, Reason::REFUSED_STREAM, &mut self.output);
            self.remember(id, true);
            return self.spend(calm::ODD);
        }
        self.take_request(id, end, block)
    }

    /// A block for a stream that was reset by us while this was on its way; or has ended; or was never used.
    fn take_late(&mut self, id: u32, block: &[u8]) -> Result<(), Fatal> {
        match self.ended_by_us(id) {
            Some(true) => message::ignore(&mut self.decoder, block).or(fatal(Reason::COMPRESSION_ERROR)),
            Some(false) => fatal(Reason::STREAM_CLOSED),
            None => fatal(Reason::PROTOCOL_ERROR),
        }
    }

    fn take_request(&mut self, id: u32, end: bool, block: &[u8]) -> Result<(), Fatal> {
        let key = self.insert(id);
        let stream = &mut self.streams[key];
        stream.receiving = !end;
        let (limit, scratch) = (self.limits.max_header_bytes, &mut self.scratch);
        let refused = match message::request(&mut self.decoder, block, limit, scratch, &mut stream.inbound) {
            Ok(head) => {
                (stream.headed, stream.head_method) = (true, head.head_method);
                stream.frame_body(head.length, false, end);
                if !end || head.length.unwrap_or(0) == 0 {
                    self.events.push(Event::Opened(key));
                    return Ok(());
                }
                Refused::Malformed
            }
            Err(refused) => refused,
        };
        match refused {
            Refused::Block => return fatal(Reason::COMPRESSION_ERROR),
            Refused::TooLarge => self.send_fields(key, true, |encoder, output| encoder.status(431, output)),
            Refused::Malformed => {}
        }
        self.release(key, Reason::PROTOCOL_ERROR);
        self.spend(calm::RESET)
    }

    fn take_response(&mut self, key: usize, end: bool, block: &[u8]) -> Result<(), Refused> {
        let stream = &mut self.streams[key];
        let (limit, scratch) = (self.limits.max_header_bytes, &mut self.scratch);
        let head = message::response(&mut self.decoder, block, limit, scratch, &mut stream.inbound)?;
        if head.status < 200 {
            stream.inbound.extend_from_slice(b"\r\n");
            if end {
                return Err(Refused::Malformed);
            }
        } else {
            let bodyless = stream.head_method || head.status == 204 || head.status == 304;
            stream.headed = true;
            if end && !bodyless && head.length.is_none() {
                stream.inbound.extend_from_slice(b"content-length: 0\r\n");
            }
            stream.frame_body(head.length, bodyless, end);
            stream.receiving = !end;
            if end && !bodyless && head.length.unwrap_or(0) > 0 {
                return Err(Refused::Malformed);
            }
        }
        stream.wake_reader();
        Ok(())
    }

    fn take_trailers(&mut self, key: usize, end: bool, block: &[u8]) -> Result<(), Refused> {
        let mut lines = Vec::new();
        let limit = self.limits.max_header_bytes;
        message::trailers(&mut self.decoder, block, limit, &mut self.scratch, &mut lines)?;
        let stream = &mut self.streams[key];
        if !end || !stream.end(&lines) {
            return Err(Refused::Malformed);
        }
        stream.wake_reader();
        Ok(())
    }

    fn take_priority(&mut self, header: Header, payload: &[u8]) -> Result<(), Fatal> {
        if header.stream == 0 {
            return fatal(Reason::PROTOCOL_ERROR);
        }
        if payload.len() != 5 {
            return fatal(Reason::FRAME_SIZE_ERROR);
        }
        judge_priority(header.stream, payload)?;
        self.spend(calm::ODD)
    }

    fn take_reset(&mut self, header: Header, payload: &[u8]) -> Result<(), Fatal> {
        if header.stream == 0 || self.is_idle(header.stream) {
            return fatal(Reason::PROTOCOL_ERROR);
        }
        let reason = payload.try_into().map_err(|_| Fatal(Reason::FRAME_SIZE_ERROR)).map(u32::from_be_bytes)?;
        let Some(key) = self.keys.get(&header.stream).copied() else { return self.spend(calm::ODD) };
        let stream = &self.streams[key];
        if stream.failed.is_none() {
            // An answer that is whole and a request that is not needed any more is a good end, too.
            let answered = self.limits.role == Role::Client && reason == Reason::NO_ERROR.0 && !stream.receiving;
            self.remember(header.stream, false);
            if answered {
                let stream = &mut self.streams[key];
                stream.sending = false;
                stream.wake_writer();
                return Ok(());
            }
            self.lose(key, Reason(reason));
        }
        self.spend(calm::RESET)
    }

    fn take_settings(&mut self, header: Header, payload: &[u8]) -> Result<(), Fatal> {
        if header.stream != 0 {
            return fatal(Reason::PROTOCOL_ERROR);
        }
        if header.has(flag::ACK) {
            return if payload.is_empty() { self.spend(calm::ODD) } else { fatal(Reason::FRAME_SIZE_ERROR) };
        }
        let before = self.peer;
        self.peer.take(payload, self.limits.role == Role::Client).map_err(Fatal)?;
        if self.peer.table_bytes != before.table_bytes {
            self.encoder.set_limit(self.peer.table_bytes);
        }
        let change = i64::from(self.peer.initial_window) - i64::from(before.initial_window);
        if change != 0 {
            for (_, stream) in &mut self.streams {
                stream.window += change;
                if stream.window > MAX_WINDOW {
                    return fatal(Reason::FLOW_CONTROL_ERROR);
                }
                stream.wake_writer();
            }
        }
        frame::write_settings(flag::ACK, &[], &mut self.output);
        self.spend(calm::SETTINGS)
    }

    fn take_ping(&mut self, header: Header, payload: &[u8]) -> Result<(), Fatal> {
        if header.stream != 0 {
            return fatal(Reason::PROTOCOL_ERROR);
        }
        if payload.len() != 8 {
            return fatal(Reason::FRAME_SIZE_ERROR);
        }
        if !header.has(flag::ACK) {
            frame::write_ping(flag::ACK, payload, &mut self.output);
        } else if payload == FAREWELL_PING && self.farewell == Farewell::Announced {
            self.farewell = Farewell::Said(self.last_peer);
            frame::write_goaway(self.last_peer, Reason::NO_ERROR, &mut self.output);
        }
        self.spend(calm::ODD)
    }

    fn take_goaway(&mut self, header: Header, payload: &[u8]) -> Result<(), Fatal> {
        if header.stream != 0 {
            return fatal(Reason::PROTOCOL_ERROR);
        }
        let Some([a, b, c, d]) = payload.first_chunk::<4>().filter(|_| payload.len() >= 8) else {
            return fatal(Reason::FRAME_SIZE_ERROR);
        };
        let last = u32::from_be_bytes([a & 0x7f, *b, *c, *d]);
        self.peer_farewell = Some(last);
        if self.limits.role == Role::Client {
            let unseen: Vec<usize> = self.streams.iter().filter(|(_, s)| s.id > last).map(|(key, _)| key).collect();
            unseen.into_iter().for_each(|key| self.lose(key, Reason::REFUSED_STREAM));
        }
        self.spend(calm::ODD)
    }

    fn take_window_update(&mut self, header: Header, payload: &[u8]) -> Result<(), Fatal> {
        let increment = payload.try_into().map_err(|_| Fatal(Reason::FRAME_SIZE_ERROR)).map(u32::from_be_bytes)?;
        let increment = i64::from(increment & 0x7fff_ffff);
        if header.stream == 0 {
            self.window += increment;
            if increment == 0 {
                return fatal(Reason::PROTOCOL_ERROR);
            }
            if self.window > MAX_WINDOW {
                return fatal(Reason::FLOW_CONTROL_ERROR);
            }
            if self.window - increment <= 0 {
                self.wake_writers();
            }
            return Ok(());
        }
        if self.is_idle(header.stream) {
            return fatal(Reason::PROTOCOL_ERROR);
        }
        let Some(key) = self.keys.get(&header.stream).copied() else { return self.spend(calm::ODD) };
        let stream = &mut self.streams[key];
        stream.window += increment;
        let window = stream.window;
        stream.wake_writer();
        if increment == 0 {
            self.fail(key, Reason::PROTOCOL_ERROR);
        } else if window > MAX_WINDOW {
            self.fail(key, Reason::FLOW_CONTROL_ERROR);
        }
        Ok(())
    }
}

fn judge_priority(stream: u32, priority: &[u8]) -> Result<(), Fatal> {
    let dependency = priority.first_chunk::<4>().map(|bytes| u32::from_be_bytes(*bytes) & 0x7fff_ffff);
    if dependency == Some(stream) { fatal(Reason::PROTOCOL_ERROR) } else { Ok(()) }
}
