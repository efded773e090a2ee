//! A simulated server: `workers` requests are worked on at a time, the others queue, first come first served. Work takes
//! cost x slowness of time, not of CPU, so that many servers fit on one core; no work begins in a stall.

use crate::spec::Stall;
use std::time::{Duration, Instant};

pub struct Server {
    /// When each worker is free again.
    free: Vec<Instant>,
    slowness: f64,
    stall: Option<Stall>,
    begin: Instant,
}

impl Server {
    pub fn new(workers: usize, slowness: f64, stall: Option<Stall>, begin: Instant) -> Self {
        Self { free: vec![begin; workers.max(1)], slowness, stall, begin }
    }

    /// Forgets all work and begins the time of stalls anew.
    pub fn reset(&mut self, begin: Instant) {
        self.begin = begin;
        self.free.fill(begin);
    }

    /// When a request of that cost, arriving now, is answered.
    pub fn finish(&mut self, now: Instant, cost: Duration) -> Instant {
        let (begin, slowness, stall) = (self.begin, self.slowness, self.stall);
        let Some(worker) = self.free.iter_mut().min() else { return now };
        let start = after_stall(begin, (*worker).max(now), stall);
        *worker = start + cost.mul_f64(slowness);
        *worker
    }
}

fn after_stall(begin: Instant, at: Instant, stall: Option<Stall>) -> Instant {
    let Some(stall) = stall else { return at };
    let phase = (at - begin).as_secs_f64() % stall.every_seconds;
    if phase < stall.for_seconds {
        return at + Duration::from_secs_f64(stall.for_seconds - phase);
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn requests_beyond_the_workers_queue() {
        let now = Instant::now();
        let mut server = Server::new(2, 1.0, None, now);
        let done: Vec<_> = (0..4).map(|_| (server.finish(now, 10 * MS) - now).as_millis()).collect();
        assert_eq!(done, [10, 10, 20, 20]);
    }

    #[test]
    fn a_slow_server_takes_its_factor_and_a_stall_delays_the_start() {
        let now = Instant::now();
        let stall = Stall { server: 0, every_seconds: 1.0, for_seconds: 0.1 };
        let mut server = Server::new(1, 10.0, Some(stall), now);
        assert_eq!((server.finish(now, MS) - now).as_millis(), 110);
        assert_eq!((server.finish(now + 500 * MS, MS) - now).as_millis(), 510);
    }
}
