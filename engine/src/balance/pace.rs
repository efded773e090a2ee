//! How much more slowly than its peers an endpoint seems to answer.
//!
//! An endpoint seems to take what its answers usually took, or as long as it has been silent: a stall shows before it has
//! ended. Its peers' pace is that of the quickest but a quarter of them, so that one which answers at once because it
//! fails is no measure. Up to `BAND` times that, and under `NOISE_NANOS`, all are alike: requests of one application cost
//! different amounts. Promises: where no answer is measured (connections at layer 4) all are alike.

use super::floor::Floor;
use super::{Ask, Candidate};

/// Latencies under this are noise.
pub const NOISE_NANOS: u64 = 500_000;
/// Latencies up to so many times the peers' are alike.
const BAND: u64 = 3;
/// How finely slowness is told: so much is none.
pub const ALIKE: u64 = 16;
const SLOWEST: u64 = 1000 * ALIKE;
/// For so long the peers' pace is not worked out again.
const KEEP_NANOS: u64 = 500_000;

#[derive(Default)]
pub struct Pace {
    pub floor: Floor,
    seems: Vec<u64>,
    sorted: Vec<u64>,
    /// The peers' pace, 0 when nobody's is known; and when it was worked out.
    peers_nanos: u64,
    at_nanos: u64,
}

impl Pace {
    /// Looks at all; `slowness` then tells.
    pub fn look<C: Candidate>(&mut self, set: &[C], ask: &Ask<'_>, usable: impl Fn(usize) -> bool) {
        let (floor, now) = (&self.floor, ask.now_nanos);
        self.seems.clear();
        self.seems.extend(set.iter().enumerate().map(|(i, c)| c.usual_nanos().max(floor.silence_nanos(c, i, now))));
        if self.peers_nanos > 0 && now.saturating_sub(self.at_nanos) < KEEP_NANOS {
            return;
        }
        self.at_nanos = now;
        self.sorted.clear();
        let measured = (0..set.len()).filter(|&i| usable(i) && set[i].usual_nanos() > 0);
        self.sorted.extend(measured.map(|i| self.seems[i]));
        let quarter = self.sorted.len() / 4;
        self.peers_nanos = match self.sorted.len() {
            0 => 0,
            _ => (*self.sorted.select_nth_unstable(quarter).1).max(NOISE_NANOS),
        };
    }

    /// How many times as long as its peers it seems to take, in parts of `ALIKE`.
    pub fn slowness(&self, at: usize) -> u64 {
        slowness(self.seems[at], self.peers_nanos)
    }

    /// A slow endpoint that must be tried again. After `look`.
    pub fn due<C: Candidate>(&mut self, set: &[C], ask: &Ask<'_>, usable: impl Fn(usize) -> bool) -> Option<usize> {
        let Self { floor, seems, peers_nanos, .. } = self;
        floor.due(set, ask.now_nanos, |i| slowness(seems[i], *peers_nanos) > ALIKE && usable(i))
    }

    /// That one was chosen.
    pub fn note<C: Candidate>(&mut self, set: &[C], found: usize, ask: &Ask<'_>) {
        self.floor.note(set, found, ask.now_nanos);
    }
}

fn slowness(seems_nanos: u64, peers_nanos: u64) -> u64 {
    if seems_nanos <= peers_nanos.saturating_mul(BAND) || peers_nanos == 0 {
        return ALIKE;
    }
    (seems_nanos.saturating_mul(ALIKE) / peers_nanos).min(SLOWEST)
}
