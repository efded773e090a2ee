//! How often an endpoint was thrown out, by cause, and what is known of the last time.
//!
//! Promises: written only when that happens, which is seldom; a lock is cheap enough.

use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value, json};

use crate::balance::outlier::Cause;

#[derive(Default)]
pub struct Ejections(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    counts: [u64; Cause::ALL.len()],
    last: Option<Last>,
}

struct Last {
    reason: String,
    at: f64,
    /// Absent: until a health check passes.
    until: Option<f64>,
}

impl Ejections {
    /// `seconds`: how long it is out, where that is known.
    pub fn note(&self, cause: Cause, reason: &str, seconds: Option<f64>) {
        let at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        inner.counts[cause as usize] += 1;
        inner.last = Some(Last { reason: reason.to_owned(), at, until: seconds.map(|seconds| at + seconds) });
    }

    pub fn counts(&self) -> [(&'static str, u64); Cause::ALL.len()] {
        let inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Cause::ALL.map(|cause| (cause.word(), inner.counts[cause as usize]))
    }

    /// `{"count": {CAUSE: n}, "last": {reason, at, until?}}`; times are seconds since 1970.
    pub fn snapshot(&self) -> Value {
        let count: Map<_, _> =
            self.counts().iter().filter(|(_, n)| *n > 0).map(|(word, n)| ((*word).to_owned(), json!(n))).collect();
        let inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &inner.last {
            None => json!({"count": count}),
            Some(Last { reason, at, until: None }) => json!({"count": count, "last": {"reason": reason, "at": at}}),
            Some(Last { reason, at, until: Some(until) }) => {
                json!({"count": count, "last": {"reason": reason, "at": at, "until": until}})
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_are_counted_and_the_last_one_is_told() {
        let ejections = Ejections::default();
        assert_eq!(ejections.snapshot(), json!({"count": {}}));
        ejections.note(Cause::Errors, "errors in a row", Some(10.0));
        let last = &ejections.snapshot()["last"];
        assert!((last["until"].as_f64().unwrap() - last["at"].as_f64().unwrap() - 10.0).abs() < 1e-3);
        ejections.note(Cause::HealthCheck, "health check: status 503", None);
        let seen = ejections.snapshot();
        assert_eq!(seen["count"], json!({"errors": 1, "health-check": 1}));
        assert_eq!(
            (&seen["last"]["reason"], &seen["last"]["until"]),
            (&json!("health check: status 503"), &Value::Null)
        );
    }
}
