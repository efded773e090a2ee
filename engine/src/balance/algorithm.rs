//! The names of the algorithms: DESIGN's words and IPVS's own.

/// What a Backend's `algorithm` means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    RoundRobin,
    LeastRequest,
}

impl Algorithm {
    /// "" is the default: `LeastRequest` at L7, `RoundRobin` at L4. `None`: not carried.
    pub fn parse(word: &str, layer7: bool) -> Option<Self> {
        Some(match word {
            "" if layer7 => Self::LeastRequest,
            "" | "round-robin" | "rr" => Self::RoundRobin,
            "least-request" | "least-connections" | "lc" => Self::LeastRequest,
            _ => return None,
        })
    }
}
