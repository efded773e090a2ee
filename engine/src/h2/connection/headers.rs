//! Header blocks: requests, responses and trailers, whole or in pieces (RFC 9113, 4.3 and 8.1).
//!
//! A block is at most as large as the limit for headers and in at most `MOST_CONTINUATIONS` pieces (CVE-2024-27316 and its
//! kin). Whatever becomes of its message, the decoder learns of the block.

use super::super::calm;
use super::super::frame::{Header, MAX_PAYLOAD_BYTES, flag};
use super::super::message::{self, Refused};
use super::super::websocket;
use super::control::judge_priority;
use super::receive::fatal;
use super::*;

const MOST_CONTINUATIONS: u32 = 32;

/// A block whose end has not come.
pub(super) struct Block {
    pub stream: u32,
    end: bool,
    bytes: Vec<u8>,
    pieces: u32,
}

impl Connection {
    pub(super) fn take_headers(&mut self, header: Header, payload: &[u8]) -> Result<(), Fatal> {
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

    pub(super) fn take_continuation(&mut self, header: Header, payload: &[u8]) -> Result<(), Fatal> {
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
                if head.websocket {
                    stream.begin_websocket(websocket::key((self.limits.clock)() ^ u64::from(id)));
                } else {
                    stream.frame_body(&head, false, end);
                }
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
        self.faults += 1;
        self.release(key, Reason::PROTOCOL_ERROR);
        self.spend(calm::RESET)
    }

    fn take_response(&mut self, key: usize, end: bool, block: &[u8]) -> Result<(), Refused> {
        let stream = &mut self.streams[key];
        let (limit, scratch) = (self.limits.max_header_bytes, &mut self.scratch);
        let from = stream.inbound.len();
        let head = message::response(&mut self.decoder, block, limit, scratch, &mut stream.inbound)?;
        if (200..300).contains(&head.status) && stream.websocket.is_some() {
            (stream.headed, stream.receiving) = (true, !end);
            stream.switch(from);
        } else if head.status < 200 {
            stream.inbound.extend_from_slice(b"\r\n");
            if end {
                return Err(Refused::Malformed);
            }
        } else {
            let bodyless = stream.head_method || head.status == 204 || head.status == 304;
            stream.headed = true;
            stream.frame_body(&head, bodyless, end);
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
}
