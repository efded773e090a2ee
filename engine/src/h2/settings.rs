//! What the peer allows us (RFC 9113, 6.5).

use super::frame::{MAX_PAYLOAD_BYTES, Reason};

pub mod id {
    pub const HEADER_TABLE_SIZE: u16 = 1;
    pub const ENABLE_PUSH: u16 = 2;
    pub const MAX_CONCURRENT_STREAMS: u16 = 3;
    pub const INITIAL_WINDOW_SIZE: u16 = 4;
    pub const MAX_FRAME_SIZE: u16 = 5;
    pub const MAX_HEADER_LIST_SIZE: u16 = 6;
    /// RFC 8441, 3.
    pub const ENABLE_CONNECT_PROTOCOL: u16 = 8;
}

pub const INITIAL_WINDOW: u32 = 65_535;
pub const MAX_WINDOW: i64 = 0x7fff_ffff;

/// The peer's settings; larger frames than the smallest allowed are never sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    pub table_bytes: usize,
    pub max_streams: u32,
    pub initial_window: u32,
    /// It takes extended CONNECT.
    pub connect_protocol: bool,
}

impl Default for Peer {
    fn default() -> Self {
        Self { table_bytes: 4096, max_streams: u32::MAX, initial_window: INITIAL_WINDOW, connect_protocol: false }
    }
}

impl Peer {
    /// Takes a SETTINGS frame's payload in. `from_server`: it may not speak of push (RFC 9113, 6.5.2).
    pub fn take(&mut self, payload: &[u8], from_server: bool) -> Result<(), Reason> {
        let (settings, []) = payload.as_chunks::<6>() else { return Err(Reason::FRAME_SIZE_ERROR) };
        for [a, b, value @ ..] in settings {
            let value = u32::from_be_bytes(*value);
            match u16::from_be_bytes([*a, *b]) {
                id::HEADER_TABLE_SIZE => self.table_bytes = value as usize,
                id::ENABLE_PUSH if value > 1 || (from_server && value == 1) => return Err(Reason::PROTOCOL_ERROR),
                id::MAX_CONCURRENT_STREAMS => self.max_streams = value,
                id::INITIAL_WINDOW_SIZE if i64::from(value) > MAX_WINDOW => return Err(Reason::FLOW_CONTROL_ERROR),
                id::INITIAL_WINDOW_SIZE => self.initial_window = value,
                id::MAX_FRAME_SIZE if !(MAX_PAYLOAD_BYTES..1 << 24).contains(&(value as usize)) => {
                    return Err(Reason::PROTOCOL_ERROR);
                }
                id::ENABLE_CONNECT_PROTOCOL if value > 1 || (self.connect_protocol && value == 0) => {
                    return Err(Reason::PROTOCOL_ERROR);
                }
                id::ENABLE_CONNECT_PROTOCOL => self.connect_protocol = value == 1,
                _ => {}
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(id: u16, value: u32) -> Result<Peer, Reason> {
        let mut peer = Peer::default();
        peer.take(&[&id.to_be_bytes()[..], &value.to_be_bytes()].concat(), false).map(|()| peer)
    }

    #[test]
    fn settings_are_judged_as_the_rfc_says() {
        assert_eq!(take(id::INITIAL_WINDOW_SIZE, 7).unwrap().initial_window, 7);
        assert_eq!(take(id::INITIAL_WINDOW_SIZE, 1 << 31), Err(Reason::FLOW_CONTROL_ERROR));
        assert_eq!(take(id::ENABLE_PUSH, 2), Err(Reason::PROTOCOL_ERROR));
        assert_eq!(take(id::MAX_FRAME_SIZE, 16_383), Err(Reason::PROTOCOL_ERROR));
        assert_eq!(take(id::MAX_FRAME_SIZE, 1 << 24), Err(Reason::PROTOCOL_ERROR));
        assert!(take(id::ENABLE_CONNECT_PROTOCOL, 1).unwrap().connect_protocol);
        assert_eq!(take(id::ENABLE_CONNECT_PROTOCOL, 2), Err(Reason::PROTOCOL_ERROR));
        let mut taken_back = take(id::ENABLE_CONNECT_PROTOCOL, 1).unwrap();
        assert_eq!(taken_back.take(&[0, 8, 0, 0, 0, 0], true), Err(Reason::PROTOCOL_ERROR));
        assert_eq!(take(99, 1), Ok(Peer::default()));
        assert_eq!(Peer::default().take(&[0; 5], false), Err(Reason::FRAME_SIZE_ERROR));
    }
}
