//! What is tried again, and the answer when nothing helps.

use super::*;
use crate::balance::random;
use std::time::Duration;

/// A pause is at most so many times the first one.
const MOST_BACKOFFS: f64 = 10.0;

impl<C: Client> Exchange<'_, C> {
    /// Decides, and keeps account of tries.
    fn may_retry(&mut self, failure: &Failure) -> bool {
        if self.response_started || !self.upload.can_rewind() {
            return false;
        }
        let on = |word: &str, default: bool| self.plan.retry().map_or(default, |r| r.on.iter().any(|o| o == word));
        let safe = self.plan.idempotent || on("non-idempotent", false);
        let seconds = self.plan.retry().map_or(0.0, |r| r.timeout_seconds);
        let now = self.session.context.now_nanos();
        if seconds > 0.0 && now.saturating_sub(self.started) as f64 / 1e9 > seconds {
            return false;
        }
        match failure {
            Failure::Replaced(_) => return false,
            // The endpoint did nothing wrong: it closed an idle connection.
            Failure::NoResponse { stale: true } => return safe,
            // It got nothing, so another try costs nobody anything.
            Failure::Connect if on("connect", true) => {}
            Failure::NoResponse { .. } if safe && on("reset", true) => {}
            Failure::Timeout if safe && on("timeout", false) => {}
            Failure::Unwanted(_) if safe => {}
            _ => return false,
        }
        if self.retries_left == 0 {
            return false;
        }
        let costs = !matches!(failure, Failure::Connect);
        if costs && !self.plan.backend.shared.budget.spend(now) {
            return false;
        }
        self.retries_left -= 1;
        if let Some(endpoint) = &self.endpoint {
            self.avoid.push(endpoint.id);
        }
        true
    }

    /// Makes ready for another try, after its pause; or answers, when nothing is to be tried.
    pub(super) async fn recover(&mut self, failure: Failure) -> Option<Outcome> {
        if matches!(failure, Failure::NoResponse { stale: false } | Failure::BadResponse | Failure::Timeout) {
            self.note(outlier::Outcome::Error);
        }
        if !self.may_retry(&failure) {
            return Some(self.fail(failure).await);
        }
        if let Some(pause) = self.pause(&failure) {
            if !self.time_for(pause) {
                return Some(self.fail(failure).await);
            }
            tokio::time::sleep(pause).await;
        }
        self.plan.backend.shared.retries.add(1);
        self.upload.rewind();
        self.upload_broken = false;
        let filled = self.answer.filled().len();
        self.answer.consume(filled);
        None
    }

    /// How long the next try waits: never less than the policy's time, up to a quarter more so that those that failed
    /// together do not come back together. An idle connection that had been closed is no try that failed.
    fn pause(&self, failure: &Failure) -> Option<Duration> {
        let retry = self.plan.retry().filter(|retry| retry.backoff_seconds > 0.0)?;
        if matches!(failure, Failure::NoResponse { stale: true }) {
            return None;
        }
        let earlier = retry.attempts.saturating_sub(2).saturating_sub(self.retries_left);
        let jitter = random::unit(self.session.context.draw()) / 4.0;
        let longer = 2f64.powi(earlier.min(8) as i32).min(MOST_BACKOFFS);
        Duration::try_from_secs_f64(retry.backoff_seconds * longer * (1.0 + jitter)).ok()
    }

    /// A pause that ends after the request's time, or the time for further tries, is not worth its wait.
    fn time_for(&self, pause: Duration) -> bool {
        let spent = self.session.context.now_nanos().saturating_sub(self.started) as f64 / 1e9;
        let request = self.plan.timeouts().map_or(0.0, |t| t.request());
        let retries = self.plan.retry().map_or(0.0, |r| r.timeout_seconds);
        [request, retries].iter().all(|limit| *limit <= 0.0 || spent + pause.as_secs_f64() < *limit)
    }

    /// For the ejection of outliers.
    pub(super) fn note(&self, outcome: outlier::Outcome) {
        let backend = &self.plan.backend;
        if let (Some(_), Some(endpoint)) = (&backend.spec.outlier, &self.endpoint) {
            backend.shared.note(endpoint, outcome, self.session.context.now_nanos());
        }
    }

    pub(super) fn unwanted(&mut self, status: u16) -> bool {
        self.note(if status >= 500 { outlier::Outcome::Error } else { outlier::Outcome::Good });
        let Some(retry) = self.plan.retry() else { return false };
        let named = retry.on.iter().any(|on| match on.as_str() {
            "5xx" => status >= 500,
            "gateway-error" => (502..=504).contains(&status),
            code => code.parse() == Ok(status),
        });
        let safe = self.plan.idempotent || retry.on.iter().any(|on| on == "non-idempotent");
        named && self.retries_left > 0 && safe && self.upload.can_rewind() && !self.response_started
    }

    /// Answers a request that failed.
    pub(super) async fn fail(&mut self, failure: Failure) -> Outcome {
        match self.prepare_failure(failure) {
            Some(Prepared::Ready(mut written)) => self.session.send(&mut written).await,
            Some(Prepared::Asking(own, output)) => Box::pin(self.session.answer(*own, output)).await,
            None => Outcome::Close,
        }
    }

    fn prepare_failure(&mut self, failure: Failure) -> Option<Prepared> {
        if self.response_started {
            return None;
        }
        let (status, reason) = match failure {
            Failure::Over => return None,
            Failure::Refused(refused) => (refused.status, refused.reason),
            Failure::Connect => (502, "no endpoint could be connected to"),
            Failure::NoResponse { .. } => (502, "the endpoint closed without a response"),
            Failure::BadResponse => (502, "the endpoint's response is malformed"),
            Failure::Unwanted(status) | Failure::Replaced(status) => (status, "the endpoint failed"),
            Failure::Timeout => (504, "the endpoint took too long"),
            Failure::NoEndpoint => {
                self.plan.backend.shared.no_endpoint.add(1);
                (503, "the Backend has no endpoint")
            }
        };
        if let Some(endpoint) = &self.endpoint {
            endpoint.codes.count(if let Failure::Replaced(status) = failure { status } else { 0 });
        }
        let framing = if self.upload.read_whole() { Framing::Empty } else { Framing::Chunked };
        let mut asked = self.plan.asked;
        asked.close |= matches!(failure, Failure::Refused(_));
        let entry = Some(self.plan.entry.clone());
        let own = Own {
            status,
            reason: reason.to_owned(),
            content_type: None,
            asked,
            framing,
            entry,
            lines: std::mem::take(&mut self.plan.lines),
            question: None,
            page: self.plan.page.take(),
            record: self.describe(),
        };
        Some(self.session.prepare(own, self.session.context.buffers.take_output()))
    }
}
