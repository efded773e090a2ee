//! How much nonsense a peer may send: frames that cost us more than the peer.
//!
//! A bucket of tokens. Pings, settings, priorities, empty frames and frames for streams that are gone take one; a stream
//! that is reset before its end takes ten (rapid reset, CVE-2023-44487); a stream that ends well puts ten back. So
//! who takes back half of its requests is served for ever, and who does nothing else is cut off.

const CAPACITY: u32 = 2_000;
const PER_SECOND: u64 = 200;
pub const ODD: u32 = 1;
pub const SETTINGS: u32 = 10;
pub const RESET: u32 = 10;
const ENDED: u32 = 10;

#[derive(Debug)]
pub struct Calm {
    tokens: u32,
    at_nanos: u64,
}

impl Calm {
    pub fn new(now_nanos: u64) -> Self {
        Self { tokens: CAPACITY, at_nanos: now_nanos }
    }

    /// False when the peer has gone too far.
    #[must_use]
    pub fn spend(&mut self, tokens: u32, now_nanos: u64) -> bool {
        let earned = now_nanos.saturating_sub(self.at_nanos) * PER_SECOND / 1_000_000_000;
        if earned > 0 {
            self.at_nanos = now_nanos;
            self.tokens = CAPACITY.min(self.tokens.saturating_add(u32::try_from(earned).unwrap_or(u32::MAX)));
        }
        match self.tokens.checked_sub(tokens) {
            Some(left) => self.tokens = left,
            None => return false,
        }
        true
    }

    pub fn ended_well(&mut self) {
        self.tokens = CAPACITY.min(self.tokens + ENDED);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_ends_and_who_finishes_half_of_its_streams_goes_on() {
        let mut calm = Calm::new(0);
        assert_eq!((0..).take_while(|_| calm.spend(RESET, 0)).count(), 200);
        assert!(!calm.spend(RESET, 1_000_000));
        assert!(calm.spend(RESET, 1_000_000_000), "a second later");
        let mut calm = Calm::new(0);
        for _ in 0..10_000 {
            assert!(calm.spend(RESET, 0));
            calm.ended_well();
        }
    }
}
