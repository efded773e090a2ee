//! Latencies in logarithmic buckets of nanoseconds, 64 to each doubling: a quantile is at most 1.6 % too high, never
//! too low. The maximum and the mean are exact.

use serde::Serialize;
use std::time::Duration;

const SUB: u64 = 64;
const SUB_BITS: u32 = 6;

#[derive(Default)]
pub struct Histogram {
    counts: Vec<u64>,
    total: u64,
    sum_ns: u128,
    max_ns: u64,
}

#[derive(Serialize, Default)]
pub struct Summary {
    pub count: u64,
    pub mean: f64,
    pub p50: f64,
    pub p90: f64,
    pub p99: f64,
    pub p999: f64,
    pub max: f64,
}

fn bucket(ns: u64) -> usize {
    if ns < SUB {
        return ns as usize;
    }
    let exponent = ns.ilog2() - SUB_BITS;
    ((u64::from(exponent) + 1) * SUB + ((ns >> exponent) - SUB)) as usize
}

fn upper(index: usize) -> u64 {
    let index = index as u64;
    if index < SUB {
        return index;
    }
    let exponent = index / SUB - 1;
    ((index % SUB + SUB + 1) << exponent) - 1
}

impl Histogram {
    pub fn record(&mut self, latency: Duration) {
        let ns = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
        let index = bucket(ns);
        if index >= self.counts.len() {
            self.counts.resize(index + 1, 0);
        }
        self.counts[index] += 1;
        self.total += 1;
        self.sum_ns += u128::from(ns);
        self.max_ns = self.max_ns.max(ns);
    }

    /// Milliseconds below which the share `q` of all values lies.
    pub fn quantile_ms(&self, q: f64) -> f64 {
        let rank = (q * self.total as f64).ceil().max(1.0) as u64;
        let mut seen = 0;
        for (index, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return upper(index).min(self.max_ns) as f64 / 1e6;
            }
        }
        0.0
    }

    pub fn summary(&self) -> Summary {
        if self.total == 0 {
            return Summary::default();
        }
        Summary {
            count: self.total,
            mean: self.sum_ns as f64 / self.total as f64 / 1e6,
            p50: self.quantile_ms(0.5),
            p90: self.quantile_ms(0.9),
            p99: self.quantile_ms(0.99),
            p999: self.quantile_ms(0.999),
            max: self.max_ns as f64 / 1e6,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_within_two_percent_and_never_too_low() {
        let mut histogram = Histogram::default();
        (1..=10_000u64).for_each(|us| histogram.record(Duration::from_micros(us)));
        for (q, exact) in [(0.5, 5.0), (0.9, 9.0), (0.99, 9.9), (0.999, 9.99)] {
            let got = histogram.quantile_ms(q);
            assert!(got >= exact && got < exact * 1.02, "{q}: {got}");
        }
        assert_eq!(histogram.summary().max, 10.0);
        assert!((histogram.summary().mean - 5.0005).abs() < 1e-9);
    }

    #[test]
    fn every_bucket_ends_where_the_next_begins() {
        for index in 0..2000 {
            assert_eq!(bucket(upper(index)), index);
            assert_eq!(bucket(upper(index) + 1), index + 1);
        }
    }
}
