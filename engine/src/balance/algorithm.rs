//! The names of the algorithms: DESIGN's words and IPVS's own.

/// What a Backend's `algorithm` means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    RoundRobin,
    /// Smooth: weights are spread, not clustered.
    WeightedRoundRobin,
    /// Round by round, those whose weight is at least the round's. IPVS: `wrr`.
    InterleavedRoundRobin,
    /// By weight.
    Random,
    /// One that is idle and not slow, in turn by weight; else the fewest (requests in flight + 1) / weight, a slow
    /// endpoint's counting for more.
    LeastRequest,
    /// Fewest (requests in flight + 1) / weight. IPVS: `sed`.
    ShortestExpectedDelay,
    /// Fewest requests in flight, whatever the weight. IPVS: `lc`.
    LeastConnection,
    /// Fewest requests in flight / weight. IPVS: `wlc`.
    WeightedLeastConnection,
    /// An idle endpoint, else as `ShortestExpectedDelay`. IPVS: `nq`.
    NeverQueue,
    /// The better of two at random, by (requests in flight + 1) / weight.
    PowerOfTwo,
    /// Two drawn by weight, which may be the same; the fewer requests in flight / weight. IPVS: `twos`.
    TwoByWeight,
    /// Peak-EWMA of the latency times requests in flight.
    Ewma,
    Prequal,
    /// Rendezvous hashing of the client's address (`IpHash`; IPVS: `sh`) or of what `hash_on` says (`Hash`; IPVS: `dh`,
    /// which hashes the destination: the host where nothing is said).
    IpHash,
    Hash,
    Maglev,
    RingHash,
    /// The heaviest endpoint that may be used. IPVS: `fo`.
    Failover,
    /// The heaviest endpoint whose requests in flight are not more than its weight, else the heaviest (IPVS refuses then).
    /// IPVS: `ovf`.
    Overflow,
    /// One endpoint per destination while it is not overloaded, and with replication. IPVS: `lblc`, `lblcr`.
    Locality,
    LocalityReplicated,
}

/// What is measured of responses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Measure {
    Nothing,
    Usual,
    Peak,
}

impl Algorithm {
    /// "" is the default: `LeastRequest` at L7, `RoundRobin` at L4. `None`: no such algorithm.
    pub fn parse(word: &str, layer7: bool) -> Option<Self> {
        Some(match word {
            "" if layer7 => Self::LeastRequest,
            "" | "round-robin" | "rr" => Self::RoundRobin,
            "weighted-round-robin" => Self::WeightedRoundRobin,
            "wrr" => Self::InterleavedRoundRobin,
            "random" => Self::Random,
            "least-request" | "least-connections" => Self::LeastRequest,
            "sed" => Self::ShortestExpectedDelay,
            "lc" => Self::LeastConnection,
            "wlc" => Self::WeightedLeastConnection,
            "nq" => Self::NeverQueue,
            "power-of-two" => Self::PowerOfTwo,
            "twos" => Self::TwoByWeight,
            "ewma" => Self::Ewma,
            "prequal" => Self::Prequal,
            "ip-hash" | "sh" => Self::IpHash,
            "hash" | "dh" => Self::Hash,
            "maglev" | "mh" => Self::Maglev,
            "ring-hash" => Self::RingHash,
            "fo" => Self::Failover,
            "ovf" => Self::Overflow,
            "lblc" => Self::Locality,
            "lblcr" => Self::LocalityReplicated,
            _ => return None,
        })
    }

    /// Does it look at `Ask::hash`?
    pub fn hashes(self) -> bool {
        use Algorithm::*;
        matches!(self, IpHash | Hash | Maglev | RingHash | Locality | LocalityReplicated)
    }

    /// Can no endpoint get more than a multiple of its share?
    pub fn may_be_bounded(self) -> bool {
        use Algorithm::*;
        matches!(self, IpHash | Hash | Maglev | RingHash)
    }

    /// Would one that has nothing in flight get every request?
    pub fn takes_idle(self) -> bool {
        use Algorithm::*;
        matches!(
            self,
            LeastRequest
                | ShortestExpectedDelay
                | LeastConnection
                | WeightedLeastConnection
                | NeverQueue
                | Ewma
                | Prequal
        )
    }

    /// Which latencies does it look at?
    pub fn measures(self) -> Measure {
        match self {
            Self::Ewma => Measure::Peak,
            Self::LeastRequest | Self::Prequal => Measure::Usual,
            _ => Measure::Nothing,
        }
    }
}
