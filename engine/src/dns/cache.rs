//! Answers of others, kept for a while. Pure: the clock is an argument.
//!
//! Promises: nothing is kept longer than its records allow, nor than 30 s (as CoreDNS in a cluster does); the TTLs in an
//! answer given again have fallen by its age; at most `MOST_ENTRIES` answers and 8 MiB. Failures are not kept.

use std::collections::HashMap;

use super::packet::{self, HEADER_BYTES};

const MOST_ENTRIES: usize = 10_000;
const MOST_BYTES: usize = 8 << 20;
const LONGEST_SECONDS: u32 = 30;
const NEGATIVE_SECONDS: u32 = 5;

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Key {
    pub name: String,
    pub kind: u16,
    pub dnssec_ok: bool,
}

#[derive(Default)]
pub struct Cache {
    entries: HashMap<Key, Entry>,
    bytes: usize,
}

struct Entry {
    message: Vec<u8>,
    ttl_places: Vec<usize>,
    at_seconds: f64,
    until_seconds: f64,
}

impl Cache {
    /// The answer with its TTLs as they are now.
    pub fn get(&mut self, key: &Key, now_seconds: f64) -> Option<Vec<u8>> {
        let entry = self.entries.get(key)?;
        if entry.until_seconds <= now_seconds {
            self.remove(key);
            return None;
        }
        let age = (now_seconds - entry.at_seconds) as u32;
        let mut message = entry.message.clone();
        for place in &entry.ttl_places {
            let bytes: &mut [u8; 4] = (&mut message[*place..*place + 4]).try_into().ok()?;
            *bytes = u32::from_be_bytes(*bytes).saturating_sub(age).to_be_bytes();
        }
        Some(message)
    }

    pub fn put(&mut self, key: Key, message: &[u8], now_seconds: f64) {
        let Some((ttl, ttl_places)) = lifetime(message).filter(|(ttl, _)| *ttl > 0) else { return };
        self.remove(&key);
        if self.entries.len() >= MOST_ENTRIES || self.bytes + message.len() > MOST_BYTES {
            self.make_room(now_seconds);
        }
        self.bytes += message.len();
        let until_seconds = now_seconds + f64::from(ttl);
        self.entries
            .insert(key, Entry { message: message.to_vec(), ttl_places, at_seconds: now_seconds, until_seconds });
    }

    fn remove(&mut self, key: &Key) {
        if let Some(entry) = self.entries.remove(key) {
            self.bytes -= entry.message.len();
        }
    }

    /// What has run out goes; if that is not enough, everything (it comes back in a moment).
    fn make_room(&mut self, now_seconds: f64) {
        self.entries.retain(|_, entry| entry.until_seconds > now_seconds);
        self.bytes = self.entries.values().map(|entry| entry.message.len()).sum();
        if self.entries.len() >= MOST_ENTRIES * 9 / 10 || self.bytes >= MOST_BYTES * 9 / 10 {
            self.entries.clear();
            self.bytes = 0;
        }
    }
}

/// How long an answer may be kept, and where its TTLs are. `None`: not at all.
fn lifetime(message: &[u8]) -> Option<(u32, Vec<usize>)> {
    let header: &[u8; HEADER_BYTES] = message.first_chunk()?;
    let word = |place: usize| u16::from_be_bytes([header[place], header[place + 1]]);
    let code = word(2) & 15;
    if word(2) & 0x0200 != 0 || word(4) != 1 || code != 0 && code != 3 {
        return None;
    }
    let (_, after) = packet::read_name(message, HEADER_BYTES)?;
    let (answers, others) = (usize::from(word(6)), usize::from(word(8)) + usize::from(word(10)));
    let mut shortest = if answers == 0 || code == 3 { NEGATIVE_SECONDS } else { LONGEST_SECONDS };
    let (mut place, mut places) = (after + 4, Vec::new());
    for _ in 0..answers + others {
        let (record, end) = packet::read_record(message, place)?;
        place = end;
        if record.kind != packet::OPT {
            shortest = shortest.min(record.ttl);
            places.push(record.ttl_place);
        }
    }
    Some((shortest, places))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(code: u8, ttls: &[u32]) -> Vec<u8> {
        let mut message = vec![0, 1, 0x80, code, 0, 1, 0, ttls.len() as u8, 0, 0, 0, 0];
        message.extend(packet::question_of("x.y", packet::A).unwrap());
        for ttl in ttls {
            message.extend([0xc0, 12, 0, 1, 0, 1]);
            message.extend(ttl.to_be_bytes());
            message.extend([0, 4, 1, 2, 3, 4]);
        }
        message
    }

    fn key(name: &str) -> Key {
        Key { name: name.to_owned(), kind: packet::A, dnssec_ok: false }
    }

    #[test]
    fn an_answer_grows_old_and_goes_with_its_shortest_record() {
        let mut cache = Cache::default();
        cache.put(key("x.y"), &answer(0, &[20, 10]), 100.0);
        assert_eq!(cache.get(&key("x.y"), 103.5), Some(answer(0, &[17, 7])));
        assert_eq!(cache.get(&key("x.y"), 110.0), None);
        assert_eq!(cache.bytes, 0);
    }

    #[test]
    fn nothing_is_kept_longer_than_half_a_minute_and_nothings_only_a_moment() {
        let mut cache = Cache::default();
        cache.put(key("long"), &answer(0, &[86400]), 0.0);
        cache.put(key("none"), &answer(3, &[]), 0.0);
        assert!(cache.get(&key("long"), 29.0).is_some() && cache.get(&key("long"), 30.0).is_none());
        assert!(cache.get(&key("none"), 4.0).is_some() && cache.get(&key("none"), 5.0).is_none());
    }

    #[test]
    fn failures_and_nonsense_are_not_kept() {
        let mut cache = Cache::default();
        let mut cut = answer(0, &[10]);
        cut.truncate(30);
        let mut truncated = answer(0, &[10]);
        truncated[2] |= 2;
        for message in [answer(2, &[]), answer(0, &[0]), cut, truncated, Vec::new()] {
            cache.put(key("x"), &message, 0.0);
            assert_eq!(cache.get(&key("x"), 0.0), None);
        }
    }

    #[test]
    fn it_stays_within_its_bounds() {
        let mut cache = Cache::default();
        for number in 0..30_000 {
            cache.put(key(&number.to_string()), &answer(0, &[30]), 0.0);
            assert!(cache.entries.len() <= MOST_ENTRIES);
        }
        assert_eq!(cache.bytes, cache.entries.values().map(|entry| entry.message.len()).sum::<usize>());
    }
}
