//! DNS messages on the wire (RFC 1035, 4; RFC 6891 for EDNS). Pure.
//!
//! Promises: nothing that comes in makes it panic or loop; a name is compared without regard to case and given back as it
//! was asked. Refuses: compression in a question, names over 255 and labels over 63 bytes, more than one question.

pub const A: u16 = 1;
pub const CNAME: u16 = 5;
pub const SOA: u16 = 6;
pub const PTR: u16 = 12;
pub const HINFO: u16 = 13;
pub const TXT: u16 = 16;
pub const AAAA: u16 = 28;
pub const SRV: u16 = 33;
pub const OPT: u16 = 41;
pub const IXFR: u16 = 251;
pub const AXFR: u16 = 252;
pub const ANY: u16 = 255;
pub const IN: u16 = 1;

pub const HEADER_BYTES: usize = 12;
/// What every DNS client takes without EDNS.
pub const PLAIN_BYTES: usize = 512;
/// What passes every path without fragments (DNS flag day 2020).
pub const EDNS_BYTES: usize = 1232;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code {
    NoError = 0,
    FormatError = 1,
    ServerFailure = 2,
    NoSuchName = 3,
    NotImplemented = 4,
    Refused = 5,
    BadVersion = 16,
}

/// A question that can be answered or forwarded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    pub id: u16,
    pub recursion_desired: bool,
    pub checking_disabled: bool,
    /// Lower case, without the last dot; "" is the root.
    pub name: String,
    pub kind: u16,
    pub class: u16,
    /// The question as it was asked, to be repeated.
    pub question: Vec<u8>,
    pub edns: Option<Edns>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Edns {
    pub udp_bytes: u16,
    pub version: u8,
    pub dnssec_ok: bool,
}

/// What cannot be answered by a lookup.
#[derive(Debug, PartialEq, Eq)]
pub enum Bad {
    /// No answer: not even a header, or an answer itself.
    Ignore,
    /// An answer with this code and the message's id.
    Answer { id: u16, opcode: u8, code: Code },
}

impl Query {
    pub fn parse(message: &[u8]) -> Result<Self, Bad> {
        let header: &[u8; HEADER_BYTES] = message.first_chunk().ok_or(Bad::Ignore)?;
        let word = |place: usize| u16::from_be_bytes([header[place], header[place + 1]]);
        let (id, flags) = (word(0), word(2));
        if flags & 0x8000 != 0 {
            return Err(Bad::Ignore);
        }
        let opcode = (flags >> 11 & 15) as u8;
        let bad = |code| Bad::Answer { id, opcode, code };
        if opcode != 0 {
            return Err(bad(Code::NotImplemented));
        }
        if word(4) != 1 {
            return Err(bad(Code::FormatError));
        }
        let (name, after) = read_plain_name(message, HEADER_BYTES).ok_or(bad(Code::FormatError))?;
        let tail: &[u8; 4] = message.get(after..).and_then(<[u8]>::first_chunk).ok_or(bad(Code::FormatError))?;
        let records = [word(6), word(8), word(10)].map(usize::from).iter().sum();
        let edns = read_edns(message, after + 4, records).map_err(|()| bad(Code::FormatError))?;
        Ok(Self {
            id,
            recursion_desired: flags & 0x0100 != 0,
            checking_disabled: flags & 0x0010 != 0,
            name,
            kind: u16::from_be_bytes([tail[0], tail[1]]),
            class: u16::from_be_bytes([tail[2], tail[3]]),
            question: message[HEADER_BYTES..after + 4].to_vec(),
            edns,
        })
    }

    /// How long an answer over UDP may be.
    pub fn udp_bytes(&self) -> usize {
        self.edns.map_or(PLAIN_BYTES, |edns| usize::from(edns.udp_bytes).clamp(PLAIN_BYTES, EDNS_BYTES))
    }
}

/// A name without compression, in lower case, and where it ends.
fn read_plain_name(message: &[u8], start: usize) -> Option<(String, usize)> {
    let mut name = String::new();
    let mut place = start;
    loop {
        let length = usize::from(*message.get(place)?);
        if length == 0 {
            return (place + 1 - start <= 255).then_some((name, place + 1));
        }
        if length > 63 || place - start > 255 {
            return None;
        }
        push_label(&mut name, message.get(place + 1..place + 1 + length)?);
        place += 1 + length;
    }
}

/// Labels are bytes; those that are not plain letters are written `\DDD` (RFC 1035, 5.1), so that none is mistaken for a dot.
fn push_label(name: &mut String, label: &[u8]) {
    use std::fmt::Write;
    if !name.is_empty() {
        name.push('.');
    }
    for byte in label {
        match byte {
            b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' => name.push(char::from(*byte)),
            b'A'..=b'Z' => name.push(char::from(byte.to_ascii_lowercase())),
            _ => drop(write!(name, "\\{byte:03}")),
        }
    }
}

/// A name that may be compressed (in an answer). Pointers go backwards only, so it ends.
pub fn read_name(message: &[u8], start: usize) -> Option<(String, usize)> {
    let mut name = String::new();
    let (mut place, mut end, mut lowest) = (start, None, start);
    loop {
        let length = usize::from(*message.get(place)?);
        match length {
            0 => return Some((name, end.unwrap_or(place + 1))),
            1..=63 => {
                push_label(&mut name, message.get(place + 1..place + 1 + length)?);
                place += 1 + length;
            }
            192.. => {
                let target = (length & 63) << 8 | usize::from(*message.get(place + 1)?);
                if target >= lowest {
                    return None;
                }
                end.get_or_insert(place + 2);
                (place, lowest) = (target, target);
            }
            _ => return None,
        }
        if name.len() > 1024 {
            return None;
        }
    }
}

/// One record of a message, where its parts are.
#[derive(Debug, PartialEq, Eq)]
pub struct Record {
    pub name: String,
    pub kind: u16,
    pub class: u16,
    pub ttl: u32,
    /// Where the TTL's four bytes are.
    pub ttl_place: usize,
    pub data: std::ops::Range<usize>,
}

pub fn read_record(message: &[u8], start: usize) -> Option<(Record, usize)> {
    let (name, place) = read_name(message, start)?;
    let fixed: &[u8; 10] = message.get(place..)?.first_chunk()?;
    let word = |at: usize| u16::from_be_bytes([fixed[at], fixed[at + 1]]);
    let data = place + 10..place + 10 + usize::from(word(8));
    message.get(data.clone())?;
    let ttl = u32::from_be_bytes([fixed[4], fixed[5], fixed[6], fixed[7]]);
    let end = data.end;
    Some((Record { name, kind: word(0), class: word(2), ttl, ttl_place: place + 4, data }, end))
}

fn read_edns(message: &[u8], start: usize, records: usize) -> Result<Option<Edns>, ()> {
    let (mut place, mut edns) = (start, None);
    for _ in 0..records {
        let (record, end) = read_record(message, place).ok_or(())?;
        place = end;
        if record.kind == OPT {
            if edns.is_some() || !record.name.is_empty() {
                return Err(());
            }
            let version = (record.ttl >> 16) as u8;
            edns = Some(Edns { udp_bytes: record.class, version, dnssec_ok: record.ttl & 0x8000 != 0 });
        }
    }
    Ok(edns)
}

/// Writes a name without compression. False: it is no name.
pub fn put_name(out: &mut Vec<u8>, name: &str) -> bool {
    let start = out.len();
    for label in name.split('.').filter(|label| !label.is_empty()) {
        let length_place = out.len();
        out.push(0);
        let mut bytes = label.bytes();
        while let Some(byte) = bytes.next() {
            if byte != b'\\' {
                out.push(byte);
                continue;
            }
            let digits: Vec<u8> = bytes.by_ref().take(3).collect();
            let value = std::str::from_utf8(&digits).ok().and_then(|text| text.parse::<u8>().ok());
            let Some(value) = value.filter(|_| digits.len() == 3) else { return false };
            out.push(value);
        }
        let length = out.len() - length_place - 1;
        if length == 0 || length > 63 {
            return false;
        }
        out[length_place] = length as u8;
    }
    out.push(0);
    out.len() - start <= 255
}

/// The question of a query of our own.
pub fn question_of(name: &str, kind: u16) -> Option<Vec<u8>> {
    let mut question = Vec::new();
    put_name(&mut question, name).then(|| {
        question.extend(kind.to_be_bytes());
        question.extend(IN.to_be_bytes());
        question
    })
}

/// An answer that says no more than a code.
pub fn bare(id: u16, opcode: u8, code: Code) -> Vec<u8> {
    let flags = 0x8000 | u16::from(opcode) << 11 | (code as u16 & 15);
    let mut out = Vec::with_capacity(HEADER_BYTES);
    out.extend(id.to_be_bytes());
    out.extend(flags.to_be_bytes());
    out.extend([0; 8]);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    pub fn query(name: &str, kind: u16) -> Vec<u8> {
        let mut message = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        message.extend(question_of(name, kind).unwrap());
        message
    }

    #[test]
    fn a_question_is_read_in_lower_case_and_kept_as_it_was() {
        let parsed = Query::parse(&query("Web.Default.SVC.cluster.local.", A)).unwrap();
        assert_eq!((parsed.id, parsed.kind, parsed.class), (0x1234, A, IN));
        assert_eq!(parsed.name, "web.default.svc.cluster.local");
        assert!(parsed.question.starts_with(b"\x03Web"));
        assert_eq!(parsed.udp_bytes(), 512);
    }

    #[test]
    fn edns_says_how_much_fits() {
        let mut message = query("a", A);
        message[11] = 1;
        message.extend([0, 0, 41, 0x10, 0, 0, 0, 0x80, 0, 0, 0]);
        let parsed = Query::parse(&message).unwrap();
        assert_eq!(parsed.edns, Some(Edns { udp_bytes: 4096, version: 0, dnssec_ok: true }));
        assert_eq!(parsed.udp_bytes(), EDNS_BYTES);
    }

    #[test]
    fn what_is_no_question_is_refused_with_the_code_that_fits() {
        assert_eq!(Query::parse(b"short"), Err(Bad::Ignore));
        let mut answer = query("a", A);
        answer[2] |= 0x80;
        assert_eq!(Query::parse(&answer), Err(Bad::Ignore));
        let code_of = |message: &[u8]| match Query::parse(message) {
            Err(Bad::Answer { id: 0x1234, code, .. }) => code,
            other => panic!("{other:?}"),
        };
        let mut update = query("a", A);
        update[2] |= 5 << 3;
        assert_eq!(code_of(&update), Code::NotImplemented);
        let mut two = query("a", A);
        two[5] = 2;
        assert_eq!(code_of(&two), Code::FormatError);
        let whole = query("abc.def", A);
        for length in HEADER_BYTES..whole.len() {
            assert_eq!(code_of(&whole[..length]), Code::FormatError);
        }
        let mut pointer = query("a", A);
        pointer[12] = 0xc0;
        assert_eq!(code_of(&pointer), Code::FormatError);
        let mut missing = query("a", A);
        missing[11] = 3;
        assert_eq!(code_of(&missing), Code::FormatError);
    }

    #[test]
    fn a_byte_that_is_no_letter_is_no_dot() {
        let mut message = query("aXb", A);
        message[14] = b'.';
        assert_eq!(Query::parse(&message).unwrap().name, "a\\046b");
        let mut out = Vec::new();
        assert!(put_name(&mut out, "a\\046b") && out == b"\x03a.b\0");
    }

    #[test]
    fn names_over_their_limits_are_refused() {
        assert!(!put_name(&mut Vec::new(), &"a".repeat(64)));
        assert!(!put_name(&mut Vec::new(), &["abcdefgh"; 30].join(".")));
        assert!(question_of(&"a".repeat(63), A).is_some());
    }

    #[test]
    fn pointers_that_do_not_go_back_are_refused() {
        let message = [1, b'a', 0xc0, 0, 0xc0, 4, 0xc0, 2];
        assert_eq!(read_name(&message, 2).map(|(name, _)| name), None);
        assert_eq!(read_name(&message, 4), None);
        assert_eq!(read_name(&[1, b'a', 0, 0xc0, 0], 3), Some(("a".to_owned(), 5)));
    }
}
