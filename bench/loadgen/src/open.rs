//! The open loop: requests are due at times that do not depend on any answer. A latency is measured from the due time,
//! so that a server (or a generator) that falls behind shows it; a request that had to wait for a free connection has
//! waited. `late_ms` tells how long after its due time each request was written. After SIGUSR1 no more requests become due.

use crate::alarm::Alarm;
use crate::client::{self, Client, READ_BYTES, Step};
use crate::outcome::{Failure, Outcome, WallClock};
use crate::random::Random;
use crate::spec::Open;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use std::collections::VecDeque;
use std::io;
use std::os::fd::AsRawFd;
use std::rc::Rc;
use std::time::{Duration, Instant};

const ALARM: Token = Token(usize::MAX - 1);
const ENOUGH: Token = Token(usize::MAX - 2);

/// When requests are due: `rate` a second for `seconds`, the same for the same seed.
pub struct Arrivals {
    random: Random,
    poisson: bool,
    interval: f64,
    rate: f64,
    made: u64,
    at: f64,
    seconds: f64,
}

/// A descriptor that is readable after SIGUSR1.
fn enough(poll: &Poll) -> io::Result<SignalFd> {
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGUSR1);
    signals.thread_block()?;
    let fd = SignalFd::with_flags(&signals, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?;
    poll.registry().register(&mut SourceFd(&fd.as_raw_fd()), ENOUGH, Interest::READABLE)?;
    Ok(fd)
}

impl Arrivals {
    pub fn new(rate: f64, seconds: f64, poisson: bool, seed: u64) -> Self {
        let (mut random, interval) = (Random::new(seed), 1.0 / rate);
        let at = if poisson { random.exponential(interval) } else { 0.0 };
        Self { random, poisson, interval, rate, made: 0, at, seconds }
    }
}

impl Iterator for Arrivals {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        if self.at >= self.seconds {
            return None;
        }
        let at = self.at;
        self.made += 1;
        // Not a sum: the rate must not drift by rounding.
        self.at = if self.poisson { at + self.random.exponential(self.interval) } else { self.made as f64 / self.rate };
        Some(Duration::from_secs_f64(at))
    }
}

struct Loop {
    spec: Open,
    poll: Poll,
    alarm: Alarm,
    clients: Vec<Option<Client>>,
    idle: VecDeque<usize>,
    requests: Vec<Rc<[u8]>>,
    outcome: Outcome,
    arrivals: std::iter::Peekable<Arrivals>,
    /// Due requests that wait for a connection.
    waiting: VecDeque<(Instant, usize)>,
    in_flight: usize,
    opened: usize,
    begin: Instant,
}

pub fn run(spec: Open) -> io::Result<()> {
    let poll = Poll::new()?;
    let alarm = Alarm::new(poll.registry(), ALARM)?;
    let _enough = enough(&poll)?;
    let arrivals = Arrivals::new(spec.rate, spec.seconds, spec.poisson, spec.seed).peekable();
    let requests = client::requests(&spec.target)?;
    let clock = WallClock::now();
    let mut this = Loop {
        poll,
        alarm,
        clients: Vec::new(),
        idle: (0..spec.connections).collect(),
        requests,
        outcome: Outcome::new(clock),
        arrivals,
        waiting: VecDeque::new(),
        in_flight: 0,
        opened: 0,
        begin: clock.begin,
        spec,
    };
    this.clients.resize_with(this.spec.connections, || None);
    this.turn()?;
    if !this.spec.record.is_empty() {
        this.outcome.write_record(&this.spec.record)?;
    }
    let timeline = this.spec.timeline;
    this.outcome.print(timeline)
}

impl Loop {
    fn turn(&mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(1024);
        let mut buffer = vec![0; READ_BYTES];
        let mut checked = Instant::now();
        loop {
            self.take_due(Instant::now())?;
            let Some(next) = self.arrivals.peek().copied() else {
                if self.in_flight == 0 && self.waiting.is_empty() {
                    return Ok(());
                }
                self.wait(&mut events, &mut buffer)?;
                self.check(&mut checked)?;
                continue;
            };
            self.alarm.set(self.begin + next)?;
            self.wait(&mut events, &mut buffer)?;
            self.check(&mut checked)?;
        }
    }

    fn wait(&mut self, events: &mut Events, buffer: &mut [u8]) -> io::Result<()> {
        match self.poll.poll(events, Some(Duration::from_millis(50))) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            other => other?,
        }
        for event in events.iter() {
            if event.token() == ALARM {
                self.alarm.rang();
                continue;
            }
            if event.token() == ENOUGH {
                self.take_due(Instant::now())?;
                self.arrivals = Arrivals::new(1.0, 0.0, false, 0).peekable();
                continue;
            }
            let index = event.token().0;
            if let Some(client) = &mut self.clients[index] {
                let step = client.event(event, buffer);
                self.step(index, step);
            }
        }
        Ok(())
    }

    fn take_due(&mut self, now: Instant) -> io::Result<()> {
        while let Some(at) = self.arrivals.peek() {
            let due = self.begin + *at;
            if due > now {
                break;
            }
            self.arrivals.next();
            let request = self.outcome.due as usize % self.requests.len();
            self.outcome.due += 1;
            self.waiting.push_back((due, request));
        }
        while !self.waiting.is_empty() {
            let Some(index) = self.idle.pop_front() else { break };
            let Some((due, request)) = self.waiting.pop_front() else { break };
            self.send(index, due, request);
        }
        Ok(())
    }

    fn send(&mut self, index: usize, due: Instant, request: usize) {
        if self.clients[index].is_none() {
            let addresses = &self.spec.target.addresses;
            let address = addresses[self.opened % addresses.len()];
            self.opened += 1;
            self.outcome.connections_opened += 1;
            match Client::connect(self.poll.registry(), Token(index), address, &self.spec.target) {
                Ok(client) => self.clients[index] = Some(client),
                Err(error) => {
                    self.outcome.fail(due, Instant::now(), Failure::Connect, &error.to_string());
                    self.idle.push_back(index);
                    return;
                }
            }
        }
        let Some(client) = &mut self.clients[index] else { return };
        self.in_flight += 1;
        let step = client.start(&self.requests[request], due);
        self.outcome.late(client.sent.unwrap_or(due).saturating_duration_since(due));
        self.step(index, step);
    }

    /// Gives up on what takes too long, whether it was sent or still waits.
    fn check(&mut self, checked: &mut Instant) -> io::Result<()> {
        let now = Instant::now();
        if now - *checked < Duration::from_millis(50) {
            return Ok(());
        }
        *checked = now;
        let timeout = Duration::from_secs_f64(self.spec.target.timeout_seconds);
        for index in 0..self.clients.len() {
            let due = self.clients[index].as_ref().and_then(|client| client.due);
            if due.is_some_and(|due| now - due > timeout) {
                self.step(index, Step::Failed(Failure::Timeout, String::new()));
            }
        }
        while let Some((due, _)) = self.waiting.front().copied() {
            if now - due <= timeout {
                break;
            }
            self.waiting.pop_front();
            self.outcome.fail(due, now, Failure::Unanswered, "never sent: no connection was free");
        }
        Ok(())
    }

    fn step(&mut self, index: usize, step: Step) {
        match step {
            Step::Waiting => return,
            Step::ClosedIdle => {
                // It stays in `idle`; its next request opens a new connection.
                self.outcome.closed_idle += 1;
                self.clients[index] = None;
                return;
            }
            Step::Answered => self.answered(index),
            Step::Failed(failure, detail) => {
                if let Some(due) = self.clients[index].take().and_then(|client| client.due) {
                    self.outcome.fail(due, Instant::now(), failure, &detail);
                }
            }
        }
        self.in_flight -= 1;
        self.idle.push_back(index);
    }

    fn answered(&mut self, index: usize) {
        let Some(client) = &mut self.clients[index] else { return };
        let Some(due) = client.due.take() else { return };
        let now = Instant::now();
        if !self.spec.record.is_empty() {
            self.outcome.record(due, now);
        }
        let measured = (due - self.begin).as_secs_f64() >= self.spec.warmup_seconds;
        let reader = &mut client.reader;
        self.outcome.body_bytes += std::mem::take(&mut reader.body_bytes);
        self.outcome.answer(due, now, reader.status, &reader.pod, measured);
        if self.spec.timeline {
            self.outcome.timeline_answer(due, now);
        }
        if reader.close || self.spec.target.new_connections {
            self.clients[index] = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constant_arrivals_are_exactly_the_rate() {
        let all: Vec<_> = Arrivals::new(100.0, 2.0, false, 0).collect();
        assert_eq!(all.len(), 200);
        assert!((all[199].as_secs_f64() - 1.99).abs() < 1e-6);
    }

    #[test]
    fn poisson_arrivals_are_near_the_rate_and_the_same_for_a_seed() {
        let all: Vec<_> = Arrivals::new(1000.0, 10.0, true, 5).collect();
        assert!((9_700..10_300).contains(&all.len()), "{}", all.len());
        assert_eq!(all, Arrivals::new(1000.0, 10.0, true, 5).collect::<Vec<_>>());
        assert_ne!(all, Arrivals::new(1000.0, 10.0, true, 6).collect::<Vec<_>>());
    }
}
