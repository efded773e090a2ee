//! HTTP/2's frames (RFC 9113, 4 and 6): their headers, and the small ones whole.

pub const HEADER_BYTES: usize = 9;
/// The most that a frame's payload may have unless we say otherwise, which we do not.
pub const MAX_PAYLOAD_BYTES: usize = 16_384;
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub mod kind {
    pub const DATA: u8 = 0;
    pub const HEADERS: u8 = 1;
    pub const PRIORITY: u8 = 2;
    pub const RST_STREAM: u8 = 3;
    pub const SETTINGS: u8 = 4;
    pub const PUSH_PROMISE: u8 = 5;
    pub const PING: u8 = 6;
    pub const GOAWAY: u8 = 7;
    pub const WINDOW_UPDATE: u8 = 8;
    pub const CONTINUATION: u8 = 9;
}

pub mod flag {
    pub const END_STREAM: u8 = 0x1;
    pub const ACK: u8 = 0x1;
    pub const END_HEADERS: u8 = 0x4;
    pub const PADDED: u8 = 0x8;
    pub const PRIORITY: u8 = 0x20;
}

/// Why a stream or a connection ends (RFC 9113, 7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reason(pub u32);

impl Reason {
    pub const NO_ERROR: Self = Self(0);
    pub const PROTOCOL_ERROR: Self = Self(1);
    pub const INTERNAL_ERROR: Self = Self(2);
    pub const FLOW_CONTROL_ERROR: Self = Self(3);
    pub const STREAM_CLOSED: Self = Self(5);
    pub const FRAME_SIZE_ERROR: Self = Self(6);
    pub const REFUSED_STREAM: Self = Self(7);
    pub const CANCEL: Self = Self(8);
    pub const COMPRESSION_ERROR: Self = Self(9);
    pub const ENHANCE_YOUR_CALM: Self = Self(11);
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    pub length: usize,
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
}

impl Header {
    /// `None`: not whole yet.
    pub fn parse(input: &[u8]) -> Option<Self> {
        let [a, b, c, kind, flags, s0, s1, s2, s3] = *input.first_chunk::<HEADER_BYTES>()?;
        let length = u32::from_be_bytes([0, a, b, c]) as usize;
        Some(Self { length, kind, flags, stream: u32::from_be_bytes([s0 & 0x7f, s1, s2, s3]) })
    }

    pub fn write(self, output: &mut Vec<u8>) {
        output.extend_from_slice(&self.bytes());
    }

    pub fn bytes(self) -> [u8; HEADER_BYTES] {
        let [_, a, b, c] = (self.length as u32).to_be_bytes();
        let [s0, s1, s2, s3] = self.stream.to_be_bytes();
        [a, b, c, self.kind, self.flags, s0, s1, s2, s3]
    }

    pub fn has(self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

fn write(kind: u8, flags: u8, stream: u32, payload: &[u8], output: &mut Vec<u8>) {
    Header { length: payload.len(), kind, flags, stream }.write(output);
    output.extend_from_slice(payload);
}

pub fn write_reset(stream: u32, reason: Reason, output: &mut Vec<u8>) {
    write(kind::RST_STREAM, 0, stream, &reason.0.to_be_bytes(), output);
}

pub fn write_window_update(stream: u32, bytes: u32, output: &mut Vec<u8>) {
    write(kind::WINDOW_UPDATE, 0, stream, &bytes.to_be_bytes(), output);
}

pub fn write_goaway(last: u32, reason: Reason, output: &mut Vec<u8>) {
    let payload = [last.to_be_bytes(), reason.0.to_be_bytes()].concat();
    write(kind::GOAWAY, 0, 0, &payload, output);
}

pub fn write_ping(flags: u8, payload: &[u8], output: &mut Vec<u8>) {
    write(kind::PING, flags, 0, payload, output);
}

pub fn write_settings(flags: u8, settings: &[(u16, u32)], output: &mut Vec<u8>) {
    let mut payload = Vec::with_capacity(settings.len() * 6);
    for (id, value) in settings {
        payload.extend_from_slice(&id.to_be_bytes());
        payload.extend_from_slice(&value.to_be_bytes());
    }
    write(kind::SETTINGS, flags, 0, &payload, output);
}

/// The payload without its padding (RFC 9113, 6.1); `None`: more padding than payload.
pub fn unpadded(header: Header, payload: &[u8]) -> Option<&[u8]> {
    if !header.has(flag::PADDED) {
        return Some(payload);
    }
    let (padding, rest) = payload.split_first()?;
    rest.len().checked_sub(usize::from(*padding)).map(|length| &rest[..length])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_come_back_without_the_reserved_bit() {
        let header = Header { length: 0x01_02_03, kind: kind::DATA, flags: flag::END_STREAM, stream: 0x7fff_fffe };
        let mut bytes = header.bytes();
        bytes[5] |= 0x80;
        assert_eq!(Header::parse(&bytes), Some(header));
        assert_eq!(Header::parse(&bytes[..8]), None);
    }

    #[test]
    fn padding_is_within_the_payload() {
        let padded = Header { length: 4, kind: kind::DATA, flags: flag::PADDED, stream: 1 };
        assert_eq!(unpadded(padded, &[2, b'a', 0, 0]), Some(&b"a"[..]));
        assert_eq!(unpadded(padded, &[4, b'a', 0, 0]), None);
        assert_eq!(unpadded(padded, &[]), None);
    }
}
