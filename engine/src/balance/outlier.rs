//! Ejection of outliers: when an endpoint is thrown out, for how long, and when it comes back. Pure decisions.
//!
//! Promises: an ejection lasts `ejection_seconds` times the number of ejections in a row, at most
//! `max_ejection_seconds`; at most `max_ejected_percent` of the endpoints are out at a time, but one may always be where
//! there are several.

use crate::control::objects::Outlier as Policy;

/// What a try at an endpoint came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Good,
    /// A 5xx response, or none.
    Error,
    ConnectFailure,
}

/// Why an endpoint is thrown out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    Errors,
    ConnectFailures,
    SuccessRate,
    HealthCheck,
}

impl Cause {
    pub const ALL: [Self; 4] = [Self::Errors, Self::ConnectFailures, Self::SuccessRate, Self::HealthCheck];

    /// For statistics.
    pub fn word(self) -> &'static str {
        match self {
            Self::Errors => "errors",
            Self::ConnectFailures => "connect-failures",
            Self::SuccessRate => "success-rate",
            Self::HealthCheck => "health-check",
        }
    }

    /// For people.
    pub fn text(self) -> &'static str {
        match self {
            Self::Errors => "errors in a row",
            Self::ConnectFailures => "connect failures in a row",
            Self::SuccessRate => "success rate",
            Self::HealthCheck => "health check",
        }
    }
}

/// One endpoint's record.
#[derive(Debug, Default, Clone)]
pub struct Record {
    errors: u32,
    connect_failures: u32,
    ejections: u32,
    until_nanos: u64,
    window_good: u32,
    window_all: u32,
    window_from: u64,
}

const WINDOW_NANOS: u64 = 10_000_000_000;
/// A success rate of fewer requests says nothing.
const WINDOW_REQUESTS: u32 = 20;

impl Record {
    /// Notes an outcome; the cause when the endpoint shall be ejected.
    pub fn note(&mut self, outcome: Outcome, policy: &Policy, now_nanos: u64) -> Option<Cause> {
        self.roll(now_nanos);
        self.window_all += 1;
        match outcome {
            Outcome::Good => {
                self.window_good += 1;
                self.errors = 0;
                self.connect_failures = 0;
            }
            Outcome::Error => {
                self.errors += 1;
                self.connect_failures = 0;
            }
            Outcome::ConnectFailure => {
                self.errors += 1;
                self.connect_failures += 1;
            }
        }
        let reached = |limit: u32, count: u32| limit > 0 && count >= limit;
        let rate = f64::from(self.window_good) * 100.0 < policy.success_rate_percent * f64::from(self.window_all);
        if reached(policy.connect_failures, self.connect_failures) {
            Some(Cause::ConnectFailures)
        } else if reached(policy.consecutive_errors, self.errors) {
            Some(Cause::Errors)
        } else if rate && self.window_all >= WINDOW_REQUESTS {
            Some(Cause::SuccessRate)
        } else {
            None
        }
    }

    fn roll(&mut self, now_nanos: u64) {
        if now_nanos.saturating_sub(self.window_from) > WINDOW_NANOS {
            self.window_from = now_nanos;
            self.window_all = 0;
            self.window_good = 0;
        }
    }

    pub fn eject(&mut self, policy: &Policy, now_nanos: u64) {
        let base = (policy.ejection_seconds * 1e9) as u64;
        // Long good behaviour forgives earlier ejections.
        if now_nanos.saturating_sub(self.until_nanos) > base * u64::from(self.ejections + 1) {
            self.ejections = 0;
        }
        self.ejections += 1;
        let longest = (policy.max_ejection_seconds * 1e9) as u64;
        self.until_nanos = now_nanos + (base * u64::from(self.ejections)).min(longest.max(base));
        self.errors = 0;
        self.connect_failures = 0;
        self.window_from = 0;
    }

    /// How long it still is out.
    pub fn seconds_out(&self, now_nanos: u64) -> f64 {
        self.until_nanos.saturating_sub(now_nanos) as f64 / 1e9
    }

    pub fn may_return(&self, now_nanos: u64) -> bool {
        now_nanos >= self.until_nanos
    }
}

/// May one more of `all` endpoints be ejected?
pub fn room(policy: &Policy, ejected: usize, all: usize) -> bool {
    let share = policy.max_ejected_percent / 100.0 * all as f64;
    all > 1 && ((ejected + 1) as f64 <= share || (ejected == 0 && share > 0.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn errors_in_a_row_eject_and_a_success_starts_over() {
        let policy = Policy::default();
        let mut record = Record::default();
        (0..4).for_each(|_| assert_eq!(record.note(Outcome::Error, &policy, 1), None));
        assert_eq!(record.note(Outcome::Good, &policy, 1), None);
        (0..4).for_each(|_| assert_eq!(record.note(Outcome::Error, &policy, 1), None));
        assert_eq!(record.note(Outcome::Error, &policy, 1), Some(Cause::Errors));
        let mut record = Record::default();
        (0..2).for_each(|_| assert_eq!(record.note(Outcome::ConnectFailure, &policy, 1), None));
        assert_eq!(record.note(Outcome::ConnectFailure, &policy, 1), Some(Cause::ConnectFailures));
    }

    #[test]
    fn ejections_grow_up_to_the_longest_and_are_forgiven() {
        let policy = Policy { ejection_seconds: 10.0, max_ejection_seconds: 25.0, ..Policy::default() };
        let mut record = Record::default();
        let mut now = 0;
        for seconds in [10, 20, 25] {
            record.eject(&policy, now);
            assert!(!record.may_return(now + seconds * SECOND - 1));
            now += seconds * SECOND;
            assert!(record.may_return(now));
        }
        now += 100 * SECOND;
        record.eject(&policy, now);
        assert!(record.may_return(now + 10 * SECOND));
    }

    #[test]
    fn a_success_rate_ejects_when_enough_was_seen() {
        let policy = Policy { consecutive_errors: 0, success_rate_percent: 80.0, ..Policy::default() };
        let mut record = Record::default();
        let outcome = |i: usize| if i.is_multiple_of(2) { Outcome::Good } else { Outcome::Error };
        let reasons: Vec<_> = (0..20).map(|i| record.note(outcome(i), &policy, 1)).collect();
        assert!(reasons[..19].iter().all(Option::is_none));
        assert_eq!(reasons[19], Some(Cause::SuccessRate));
    }

    #[test]
    fn only_a_share_is_out_at_a_time() {
        let policy = Policy { max_ejected_percent: 50.0, ..Policy::default() };
        assert!(!room(&policy, 0, 1));
        assert!(room(&policy, 0, 3) && !room(&policy, 1, 3));
        assert!(room(&policy, 1, 4) && !room(&policy, 2, 4));
    }
}
