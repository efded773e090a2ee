//! Fields to header blocks.
//!
//! Promises: a field that was seen a moment ago enters the dynamic table and costs one or two bytes from then on; one that
//! differs each time does not push others out; secrets are never indexed (RFC 7541, 7.1.3). Literals are written as they
//! are: Huffman codes would save the network a fifth of them and cost us more than all the rest.

use std::collections::VecDeque;
use std::hash::{BuildHasher, Hasher};

use foldhash::fast::FixedState;

use super::{TABLE_BYTES, fixed, integer};

/// Places to remember an entry's number in; each field has two.
const SLOTS: usize = 128;
/// Places to remember that a field was seen.
const SIGHTS: usize = 256;
/// Larger fields are not worth their room.
const MOST_ENTRY_BYTES: usize = 512;
const SECRETS: [&[u8]; 4] = [b"authorization", b"proxy-authorization", b"cookie", b"set-cookie"];

struct Entry {
    /// Name and value as they were given, not as they were sent.
    name: Box<[u8]>,
    value: Box<[u8]>,
}

impl Entry {
    fn size(&self) -> usize {
        self.name.len() + self.value.len() + 32
    }
}

/// One direction's encoder, with its dynamic table.
pub struct Encoder {
    /// The oldest first.
    entries: VecDeque<Entry>,
    used: usize,
    limit: usize,
    /// A new limit that the peer has to be told.
    announce: Option<usize>,
    /// How many were ever inserted.
    inserted: u32,
    /// By hash: which insertion it was, counted from 1.
    known: Box<[u32; SLOTS]>,
    /// By hash: what came there last.
    seen: Box<[u16; SIGHTS]>,
}

impl Default for Encoder {
    fn default() -> Self {
        Self {
            entries: VecDeque::new(),
            used: 0,
            limit: TABLE_BYTES,
            announce: None,
            inserted: 0,
            known: Box::new([0; SLOTS]),
            seen: Box::new([0; SIGHTS]),
        }
    }
}

impl Encoder {
    /// The peer's SETTINGS_HEADER_TABLE_SIZE.
    pub fn set_limit(&mut self, bytes: usize) {
        let limit = bytes.min(TABLE_BYTES);
        if limit != self.limit || self.announce.is_some() {
            // The smallest of several limits has emptied the table as far as it had to; telling the last is enough then.
            self.announce = Some(limit);
        }
        self.limit = limit;
        self.evict(limit);
    }

    /// Must come before a block's first field.
    pub fn begin(&mut self, output: &mut Vec<u8>) {
        if let Some(limit) = self.announce.take() {
            if limit > 0 && self.entries.is_empty() {
                integer::encode(0, 5, 0x20, output);
            }
            integer::encode(limit, 5, 0x20, output);
        }
    }

    pub fn status(&mut self, status: u16, output: &mut Vec<u8>) {
        let index = match status {
            200 => 8,
            204 => 9,
            206 => 10,
            304 => 11,
            400 => 12,
            404 => 13,
            500 => 14,
            _ => {
                let digits =
                    [(status / 100 % 10) as u8, (status / 10 % 10) as u8, (status % 10) as u8].map(|d| b'0' + d);
                return self.field(b":status", &digits, output);
            }
        };
        output.push(0x80 | index);
    }

    /// Writes one field; the name may have capitals, which are sent small.
    pub fn field(&mut self, name: &[u8], value: &[u8], output: &mut Vec<u8>) {
        let mut hasher = FixedState::default().build_hasher();
        hasher.write(name);
        hasher.write(value);
        let hash = hasher.finish();
        let slots = [hash as usize % SLOTS, (hash >> 8) as usize % SLOTS];
        if let Some(index) = slots.iter().find_map(|slot| self.find(*slot, name, value)) {
            return integer::encode(index, 7, 0x80, output);
        }
        let tag = (hash >> 16) as u16 | 1;
        let again = std::mem::replace(&mut self.seen[(hash >> 32) as usize % SIGHTS], tag) == tag;
        let slot = if self.is_live(slots[0]) { slots[1] } else { slots[0] };
        self.literal(name, value, again.then_some(slot), output);
    }

    fn is_live(&self, slot: usize) -> bool {
        self.known[slot] != 0 && (self.inserted.wrapping_sub(self.known[slot]) as usize) < self.entries.len()
    }

    fn find(&self, slot: usize, name: &[u8], value: &[u8]) -> Option<usize> {
        if !self.is_live(slot) {
            return None;
        }
        let back = self.inserted.wrapping_sub(self.known[slot]) as usize; // 0 is the newest
        let entry = &self.entries[self.entries.len() - 1 - back];
        (*entry.value == *value && *entry.name == *name).then_some(62 + back)
    }

    #[cold]
    fn literal(&mut self, name: &[u8], value: &[u8], slot: Option<usize>, output: &mut Vec<u8>) {
        let lower = name.to_ascii_lowercase();
        let fixed_name = fixed::name_index(&lower);
        let mut at = fixed_name.saturating_sub(1);
        while let Some((known, text)) = fixed::FIELDS.get(at).filter(|_| fixed_name > 0) {
            if known.as_bytes() != lower {
                break;
            }
            if text.as_bytes() == value {
                return integer::encode(at + 1, 7, 0x80, output);
            }
            at += 1;
        }
        let secret = SECRETS.contains(&&lower[..]);
        let size = name.len() + value.len() + 32;
        let slot = slot.filter(|_| !secret && size <= MOST_ENTRY_BYTES.min(self.limit));
        match slot {
            Some(_) => integer::encode(fixed_name, 6, 0x40, output),
            None => integer::encode(fixed_name, 4, if secret { 0x10 } else { 0 }, output),
        }
        if fixed_name == 0 {
            integer::encode(lower.len(), 7, 0, output);
            output.extend_from_slice(&lower);
        }
        integer::encode(value.len(), 7, 0, output);
        output.extend_from_slice(value);
        if let Some(slot) = slot {
            self.evict(self.limit - size);
            self.used += size;
            self.entries.push_back(Entry { name: name.into(), value: value.into() });
            self.inserted = self.inserted.wrapping_add(1);
            self.known[slot] = self.inserted;
        }
    }

    fn evict(&mut self, most: usize) {
        while self.used > most {
            let Some(oldest) = self.entries.pop_front() else { return };
            self.used -= oldest.size();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Decoder;
    use super::*;
    use crate::balance::random::Random;

    fn block(encoder: &mut Encoder, fields: &[(&str, &str)]) -> Vec<u8> {
        let mut output = Vec::new();
        encoder.begin(&mut output);
        fields.iter().for_each(|(name, value)| encoder.field(name.as_bytes(), value.as_bytes(), &mut output));
        output
    }

    #[test]
    fn what_repeats_costs_a_byte_and_what_does_not_pushes_nothing_out() {
        let mut encoder = Encoder::default();
        let steady = ("Server", "three times the same");
        block(&mut encoder, &[steady]);
        block(&mut encoder, &[steady]);
        for i in 0..1000 {
            block(&mut encoder, &[("x-request-id", &i.to_string())]);
        }
        assert_eq!(block(&mut encoder, &[steady]), [0xbe]);
    }

    #[test]
    fn secrets_are_never_indexed() {
        let mut encoder = Encoder::default();
        for _ in 0..3 {
            assert_eq!(block(&mut encoder, &[("Authorization", "x")])[..2], [0x1f, 8]);
        }
    }

    #[test]
    fn a_smaller_table_is_told_before_the_next_block() {
        let mut encoder = Encoder::default();
        (0..2).for_each(|_| drop(block(&mut encoder, &[("a", "b")])));
        encoder.set_limit(0);
        encoder.set_limit(100);
        let mut decoder = Decoder::default();
        let mut lines = 0;
        decoder.decode(&block(&mut encoder, &[("a", "b")]), |_| lines += 1).unwrap();
        assert_eq!(lines, 1);
    }

    #[test]
    fn whatever_is_encoded_is_decoded_to_the_same() {
        let mut random = Random::new(7);
        let (mut encoder, mut decoder) = (Encoder::default(), Decoder::default());
        for _ in 0..5_000 {
            let fields: Vec<(String, String)> = (0..random.below(12))
                .map(|_| {
                    let long = if random.below(50) == 0 { 300 } else { 6 };
                    (format!("n{}", random.below(40)), "v".repeat(random.below(long) as usize))
                })
                .collect();
            if random.below(40) == 0 {
                encoder.set_limit(random.below(5000) as usize);
            }
            let pairs: Vec<(&str, &str)> = fields.iter().map(|(n, v)| (&n[..], &v[..])).collect();
            let block = block(&mut encoder, &pairs);
            let mut came = Vec::new();
            decoder.decode(&block, |line| came.push((line.name().to_vec(), line.value().to_vec()))).unwrap();
            let sent: Vec<_> = fields.into_iter().map(|(n, v)| (n.into_bytes(), v.into_bytes())).collect();
            assert_eq!(came, sent);
        }
    }
}
