//! When to try a probe, which tries count, and when its answer has changed. Pure: the clock is an argument.
//!
//! Follows the kubelet's prober: a result counts after `success_threshold` successes or `failure_threshold` failures in
//! a row; the first one that counts is reported, then transitions only. `fast_start` adds tries after 2.5, 5, 10 ms and
//! so on up to the period until the first success; failures of those extra tries do not count. Times are seconds of any
//! monotonic clock.

/// A pod that starts in a few milliseconds waits for half as long again at most.
const FIRST_GAP_SECONDS: f64 = 0.0025;

/// The timings of one probe (docs/protocol.md, Probe).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Timings {
    pub initial_delay_seconds: f64,
    pub period_seconds: f64,
    pub timeout_seconds: f64,
    pub success_threshold: u32,
    pub failure_threshold: u32,
    pub fast_start: bool,
}

impl Timings {
    /// Kubernetes' validation, for those who come without it.
    pub fn check(&self) -> Result<(), (&'static str, &'static str)> {
        let positive = |value: f64| value.is_finite() && value > 0.0;
        if !positive(self.period_seconds) {
            return Err(("period_seconds", "must be more than 0"));
        }
        if !positive(self.timeout_seconds) {
            return Err(("timeout_seconds", "must be more than 0"));
        }
        if !(self.initial_delay_seconds.is_finite() && self.initial_delay_seconds >= 0.0) {
            return Err(("initial_delay_seconds", "must be 0 or more"));
        }
        if self.success_threshold == 0 {
            return Err(("success_threshold", "must be 1 or more"));
        }
        if self.failure_threshold == 0 {
            return Err(("failure_threshold", "must be 1 or more"));
        }
        Ok(())
    }
}

/// Whether the failure of a try counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Try {
    Counted,
    Extra,
}

/// One probe's state.
#[derive(Debug, Clone)]
pub struct Decision {
    timings: Timings,
    next_counted: f64,
    next_extra: Option<f64>,
    gap: f64,
    /// The answer that repeats, and how often it came in a row.
    row: Option<(bool, u32)>,
    reported: Option<bool>,
}

impl Decision {
    pub fn new(timings: Timings, now: f64) -> Self {
        let first = now + timings.initial_delay_seconds;
        // With a fast start the extra tries cover the first period, so that a slow start costs no counted failure.
        let (next_counted, next_extra) =
            if timings.fast_start { (first + timings.period_seconds, Some(first)) } else { (first, None) };
        Self { timings, next_counted, next_extra, gap: FIRST_GAP_SECONDS, row: None, reported: None }
    }

    /// When the next try is due.
    pub fn due(&self) -> f64 {
        self.next_extra.map_or(self.next_counted, |extra| extra.min(self.next_counted))
    }

    /// A try starts now; plans the one after it.
    pub fn begin(&mut self, now: f64) -> Try {
        if now >= self.next_counted {
            let periods = ((now - self.next_counted) / self.timings.period_seconds).floor() + 1.0;
            self.next_counted += periods * self.timings.period_seconds;
            return Try::Counted;
        }
        self.next_extra = (self.gap < self.timings.period_seconds).then_some(now + self.gap);
        self.gap *= 2.0;
        Try::Extra
    }

    /// A try ended. Returns the answer if it is to be reported.
    pub fn observe(&mut self, kind: Try, ok: bool) -> Option<bool> {
        if ok {
            self.next_extra = None;
        } else if kind == Try::Extra {
            return None;
        }
        let count = match self.row {
            Some((same, count)) if same == ok => count.saturating_add(1),
            _ => 1,
        };
        self.row = Some((ok, count));
        let threshold = if ok { self.timings.success_threshold } else { self.timings.failure_threshold };
        if count < threshold || self.reported == Some(ok) {
            return None;
        }
        self.reported = Some(ok);
        Some(ok)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLOW: Timings = Timings {
        initial_delay_seconds: 2.0,
        period_seconds: 10.0,
        timeout_seconds: 1.0,
        success_threshold: 1,
        failure_threshold: 3,
        fast_start: false,
    };

    fn tries(timings: Timings, until: f64) -> Vec<(f64, Try)> {
        let mut decision = Decision::new(timings, 0.0);
        let mut seen = Vec::new();
        while decision.due() < until {
            let now = decision.due();
            let kind = decision.begin(now);
            decision.observe(kind, false);
            seen.push(((now * 1000.0).round() / 1000.0, kind));
        }
        seen
    }

    #[test]
    fn tries_come_after_the_delay_and_then_each_period() {
        let at: Vec<f64> = tries(SLOW, 35.0).iter().map(|(at, _)| *at).collect();
        assert_eq!(at, [2.0, 12.0, 22.0, 32.0]);
    }

    #[test]
    fn a_fast_start_tries_at_doubling_gaps_until_the_period() {
        let seen = tries(Timings { fast_start: true, initial_delay_seconds: 0.0, period_seconds: 0.1, ..SLOW }, 0.35);
        let extra: Vec<f64> = seen.iter().filter(|(_, kind)| *kind == Try::Extra).map(|(at, _)| *at).collect();
        let counted: Vec<f64> = seen.iter().filter(|(_, kind)| *kind == Try::Counted).map(|(at, _)| *at).collect();
        assert_eq!(extra, [0.0, 0.003, 0.008, 0.018, 0.038, 0.078, 0.158]);
        assert_eq!(counted, [0.1, 0.2, 0.3]);
    }

    #[test]
    fn extra_failures_do_not_count() {
        let mut decision = Decision::new(Timings { fast_start: true, failure_threshold: 1, ..SLOW }, 0.0);
        let kind = decision.begin(2.0);
        assert_eq!((kind, decision.observe(kind, false)), (Try::Extra, None));
        let kind = decision.begin(12.0);
        assert_eq!((kind, decision.observe(kind, false)), (Try::Counted, Some(false)));
    }

    #[test]
    fn the_first_success_ends_the_fast_start() {
        let mut decision = Decision::new(Timings { fast_start: true, ..SLOW }, 0.0);
        let kind = decision.begin(2.0);
        assert_eq!(decision.observe(kind, true), Some(true));
        assert_eq!(decision.due(), 12.0);
    }

    #[test]
    fn only_what_reaches_its_threshold_is_reported_and_only_once() {
        let mut decision = Decision::new(Timings { success_threshold: 2, ..SLOW }, 0.0);
        let answers = [true, true, true, false, false, true, false, false, false, false, true, true];
        let reported: Vec<Option<bool>> = answers.iter().map(|ok| decision.observe(Try::Counted, *ok)).collect();
        let mut expected = vec![None; 12];
        expected[1] = Some(true);
        expected[8] = Some(false);
        expected[11] = Some(true);
        assert_eq!(reported, expected);
    }

    #[test]
    fn a_late_try_does_not_make_up_for_those_missed() {
        let mut decision = Decision::new(SLOW, 0.0);
        decision.begin(57.0);
        assert_eq!(decision.due(), 62.0);
    }
}
