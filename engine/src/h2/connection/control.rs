//! Frames that carry nothing of a message (RFC 9113, 6.3 to 6.9).

use super::super::calm;
use super::super::frame::{Header, flag};
use super::super::settings::MAX_WINDOW;
use super::receive::fatal;
use super::*;

impl Connection {
    pub(super) fn take_priority(&mut self, header: Header, payload: &[u8]) -> Result<(), Fatal> {
        if header.stream == 0 {
            return fatal(Reason::PROTOCOL_ERROR);
        }
        if payload.len() != 5 {
            return fatal(Reason::FRAME_SIZE_ERROR);
        }
        judge_priority(header.stream, payload)?;
        self.spend(calm::ODD)
    }

    pub(super) fn take_reset(&mut self, header: Header, payload: &[u8]) -> Result<(), Fatal> {
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

    pub(super) fn take_settings(&mut self, header: Header, payload: &[u8]) -> Result<(), Fatal> {
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
        self.curious.drain(..).for_each(Waker::wake);
        frame::write_settings(flag::ACK, &[], &mut self.output);
        self.spend(calm::SETTINGS)
    }

    pub(super) fn take_ping(&mut self, header: Header, payload: &[u8]) -> Result<(), Fatal> {
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

    pub(super) fn take_goaway(&mut self, header: Header, payload: &[u8]) -> Result<(), Fatal> {
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

    pub(super) fn take_window_update(&mut self, header: Header, payload: &[u8]) -> Result<(), Fatal> {
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

/// A stream that waits for itself.
pub(super) fn judge_priority(stream: u32, priority: &[u8]) -> Result<(), Fatal> {
    let dependency = priority.first_chunk::<4>().map(|bytes| u32::from_be_bytes(*bytes) & 0x7fff_ffff);
    if dependency == Some(stream) { fatal(Reason::PROTOCOL_ERROR) } else { Ok(()) }
}
