//! Writing answers (RFC 1035, 4.1; RFC 6891, 6.1). Pure.
//!
//! Promises: the question is repeated as it was asked; names that equal the question's are pointers to it; an answer that
//! does not fit is cut at a record's border and says so (TC), so that the client asks again over TCP.

use std::net::IpAddr;

use super::packet::{self, Code, HEADER_BYTES, IN, Query};
use super::zone::{Found, Value, kind_of};

const TRUNCATED: u16 = 0x0200;
const AUTHORITATIVE: u16 = 0x0400;
const RECURSION_AVAILABLE: u16 = 0x0080;
/// How long "there is no such name" may be believed: names come and go with pods.
const NEGATIVE_SECONDS: u32 = 5;

/// What goes into an answer.
#[derive(Default)]
pub struct Parts<'a> {
    pub answers: &'a [Found],
    pub more: &'a [Found],
    /// The zone that says that there is nothing.
    pub nothing_in: Option<&'a str>,
    /// The data is ours.
    pub authoritative: bool,
}

pub fn write(query: &Query, code: Code, parts: &Parts<'_>, most_bytes: usize) -> Vec<u8> {
    let mut out = head(query, code, parts.authoritative);
    out.extend_from_slice(&query.question);
    let room = most_bytes - if query.edns.is_some() { 11 } else { 0 };
    let answers = put_all(&mut out, query, parts.answers, room);
    let truncated = answers < parts.answers.len();
    let mut authority = 0;
    if let Some(zone) = parts.nothing_in.filter(|_| !truncated) {
        let before = out.len();
        put_soa(&mut out, query, zone);
        if out.len() > room { out.truncate(before) } else { authority = 1 }
    }
    // What does not fit of the additional records is no loss.
    let more = if truncated { 0 } else { put_all(&mut out, query, parts.more, room) };
    let edns = u16::from(query.edns.is_some());
    if query.edns.is_some() {
        put_edns(&mut out, code);
    }
    let counts = [(6, answers as u16), (8, authority), (10, more as u16 + edns)];
    for (place, count) in counts {
        out[place..place + 2].copy_from_slice(&count.to_be_bytes());
    }
    if truncated {
        let flags = u16::from_be_bytes([out[2], out[3]]) | TRUNCATED;
        out[2..4].copy_from_slice(&flags.to_be_bytes());
    }
    out
}

fn head(query: &Query, code: Code, authoritative: bool) -> Vec<u8> {
    let mut flags = 0x8000 | RECURSION_AVAILABLE | (code as u16 & 15);
    if query.recursion_desired {
        flags |= 0x0100;
    }
    if query.checking_disabled {
        flags |= 0x0010;
    }
    if authoritative {
        flags |= AUTHORITATIVE;
    }
    let mut out = Vec::with_capacity(packet::PLAIN_BYTES);
    out.extend(query.id.to_be_bytes());
    out.extend(flags.to_be_bytes());
    out.extend(1u16.to_be_bytes());
    out.resize(HEADER_BYTES, 0);
    out
}

/// Writes records while they fit; how many.
fn put_all(out: &mut Vec<u8>, query: &Query, records: &[Found], room: usize) -> usize {
    for (written, record) in records.iter().enumerate() {
        let before = out.len();
        if !put_record(out, query, record) || out.len() > room {
            out.truncate(before);
            return written;
        }
    }
    records.len()
}

fn put_record(out: &mut Vec<u8>, query: &Query, record: &Found) -> bool {
    if !put_owner(out, query, &record.name) {
        return false;
    }
    out.extend(kind_of(&record.value).to_be_bytes());
    out.extend(IN.to_be_bytes());
    out.extend(record.ttl.to_be_bytes());
    let length_place = out.len();
    out.extend([0, 0]);
    let good = match &record.value {
        Value::Address(IpAddr::V4(address)) => {
            out.extend(address.octets());
            true
        }
        Value::Address(IpAddr::V6(address)) => {
            out.extend(address.octets());
            true
        }
        Value::Alias(name) | Value::Pointer(name) => packet::put_name(out, name),
        Value::Service { priority, weight, port, target } => {
            [priority, weight, port].iter().for_each(|number| out.extend(number.to_be_bytes()));
            packet::put_name(out, target)
        }
        Value::Text(text) => put_text(out, text),
        Value::Minimal => put_text(out, "RFC8482") && put_text(out, ""),
    };
    let length = (out.len() - length_place - 2) as u16;
    out[length_place..length_place + 2].copy_from_slice(&length.to_be_bytes());
    good
}

fn put_owner(out: &mut Vec<u8>, query: &Query, name: &str) -> bool {
    if name == query.name {
        out.extend((0xc000 | HEADER_BYTES as u16).to_be_bytes());
        return true;
    }
    packet::put_name(out, name)
}

fn put_text(out: &mut Vec<u8>, text: &str) -> bool {
    out.push(text.len().min(255) as u8);
    out.extend(text.bytes().take(255));
    text.len() <= 255
}

fn put_soa(out: &mut Vec<u8>, query: &Query, zone: &str) {
    if !put_owner(out, query, zone) {
        return;
    }
    out.extend(packet::SOA.to_be_bytes());
    out.extend(IN.to_be_bytes());
    out.extend(NEGATIVE_SECONDS.to_be_bytes());
    let length_place = out.len();
    out.extend([0, 0]);
    packet::put_name(out, &format!("ns.dns.{zone}"));
    packet::put_name(out, &format!("hostmaster.{zone}"));
    for number in [1, 7200, 1800, 86400, NEGATIVE_SECONDS] {
        out.extend(number.to_be_bytes());
    }
    let length = (out.len() - length_place - 2) as u16;
    out[length_place..length_place + 2].copy_from_slice(&length.to_be_bytes());
}

fn put_edns(out: &mut Vec<u8>, code: Code) {
    out.push(0);
    out.extend(packet::OPT.to_be_bytes());
    out.extend((packet::EDNS_BYTES as u16).to_be_bytes());
    out.push((code as u16 >> 4) as u8);
    out.extend([0, 0, 0, 0, 0]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::packet::read_record;

    fn query(edns: bool) -> Query {
        let mut message = vec![0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, u8::from(edns)];
        message.extend(packet::question_of("Web.a", packet::A).unwrap());
        if edns {
            message.extend([0, 0, 41, 16, 0, 0, 0, 0, 0, 0, 0]);
        }
        Query::parse(&message).unwrap()
    }

    fn addresses(count: u8) -> Vec<Found> {
        let value = |last| Value::Address(IpAddr::from([10, 0, 0, last]));
        (0..count).map(|last| Found { name: "web.a".into(), ttl: 5, value: value(last) }).collect()
    }

    #[test]
    fn an_answer_repeats_the_question_and_points_to_it() {
        let answers = addresses(2);
        let parts = Parts { answers: &answers, authoritative: true, ..Parts::default() };
        let out = write(&query(false), Code::NoError, &parts, 512);
        assert_eq!(out[..12], [0, 7, 0x85, 0x80, 0, 1, 0, 2, 0, 0, 0, 0]);
        assert!(out[12..].starts_with(b"\x03Web\x01a\0"));
        let (record, end) = read_record(&out, 12 + 11).unwrap();
        assert_eq!((record.name.as_str(), record.ttl, &out[record.data]), ("web.a", 5, &[10, 0, 0, 0][..]));
        assert_eq!(read_record(&out, end).unwrap().1, out.len());
    }

    #[test]
    fn what_does_not_fit_is_cut_and_said() {
        for (edns, most) in [(false, 512), (true, 1232)] {
            let answers = addresses(200);
            let out = write(&query(edns), Code::NoError, &Parts { answers: &answers, ..Parts::default() }, most);
            assert!(out.len() <= most && out.len() > most - 16, "{}", out.len());
            assert_eq!(out[2] & 2, 2, "TC");
            let mut place = 12 + 11;
            for _ in 0..u16::from_be_bytes([out[6], out[7]]) + u16::from(edns) {
                place = read_record(&out, place).unwrap().1;
            }
            assert_eq!(place, out.len());
        }
    }

    #[test]
    fn nothing_comes_with_the_zones_authority() {
        let out = write(&query(true), Code::NoSuchName, &Parts { nothing_in: Some("a"), ..Parts::default() }, 512);
        assert_eq!((out[3] & 15, &out[6..12]), (3, &[0, 0, 0, 1, 0, 1][..]));
        let (record, _) = read_record(&out, 12 + 11).unwrap();
        assert_eq!((record.kind, record.name.as_str()), (packet::SOA, "a"));
    }
}
