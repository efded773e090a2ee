//! The closed loop: each connection sends its next request when the last one is answered. It tells what a server can
//! do; for what its users would wait, see `open`.

use crate::client::{self, Client, READ_BYTES, Step};
use crate::outcome::{Failure, Outcome, WallClock};
use crate::spec::Closed;
use mio::{Events, Poll, Token};
use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};

struct Loop {
    spec: Closed,
    poll: Poll,
    clients: Vec<Option<Client>>,
    requests: Vec<Rc<[u8]>>,
    outcome: Outcome,
    end: Instant,
    in_flight: usize,
}

pub fn run(spec: Closed) -> io::Result<()> {
    let clock = WallClock::now();
    let mut this = Loop {
        poll: Poll::new()?,
        clients: Vec::new(),
        requests: client::requests(&spec.target)?,
        outcome: Outcome::new(clock),
        end: clock.begin + Duration::from_secs_f64(spec.seconds),
        in_flight: 0,
        spec,
    };
    this.clients.resize_with(this.spec.connections, || None);
    for index in 0..this.spec.connections {
        this.next(index)?;
    }
    this.turn()?;
    this.outcome.print(false)
}

impl Loop {
    fn turn(&mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(1024);
        let mut buffer = vec![0; READ_BYTES];
        let timeout = Duration::from_secs_f64(self.spec.target.timeout_seconds);
        let mut checked = Instant::now();
        while self.in_flight > 0 || !self.over() {
            match self.poll.poll(&mut events, Some(Duration::from_millis(20))) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                other => other?,
            }
            for event in &events {
                let index = event.token().0;
                if let Some(client) = &mut self.clients[index] {
                    let step = client.event(event, &mut buffer);
                    self.step(index, step)?;
                }
            }
            if checked.elapsed() > Duration::from_millis(20) {
                checked = Instant::now();
                self.check(checked, timeout)?;
            }
        }
        Ok(())
    }

    fn over(&self) -> bool {
        let enough = self.spec.requests > 0 && self.outcome.due >= self.spec.requests;
        enough || Instant::now() >= self.end
    }

    /// Fails what took too long, and goes on where a connection was lost.
    fn check(&mut self, now: Instant, timeout: Duration) -> io::Result<()> {
        for index in 0..self.clients.len() {
            match self.clients[index].as_ref().map(|client| client.due) {
                None => self.next(index)?,
                Some(Some(due)) if now - due > timeout => {
                    self.step(index, Step::Failed(Failure::Timeout, String::new()))?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn step(&mut self, index: usize, step: Step) -> io::Result<()> {
        match step {
            Step::Waiting => return Ok(()),
            Step::ClosedIdle => {
                self.outcome.closed_idle += 1;
                self.clients[index] = None;
                return Ok(());
            }
            Step::Answered => self.answered(index),
            Step::Failed(failure, detail) => {
                // The next check opens a new one: a refused connection must not become a busy loop.
                if let Some(due) = self.clients[index].take().and_then(|client| client.due) {
                    self.in_flight -= 1;
                    self.outcome.fail(due, Instant::now(), failure, &detail);
                }
                return Ok(());
            }
        }
        self.next(index)
    }

    fn answered(&mut self, index: usize) {
        let Some(client) = &mut self.clients[index] else { return };
        let Some(due) = client.due.take() else { return };
        self.in_flight -= 1;
        let reader = &mut client.reader;
        self.outcome.body_bytes += std::mem::take(&mut reader.body_bytes);
        self.outcome.answer(due, Instant::now(), reader.status, &reader.pod, true);
        if reader.close || self.spec.target.new_connections {
            self.clients[index] = None;
        }
    }

    fn next(&mut self, index: usize) -> io::Result<()> {
        if self.over() {
            return Ok(());
        }
        let due = Instant::now();
        if self.clients[index].is_none() {
            let addresses = &self.spec.target.addresses;
            let address = addresses[index % addresses.len()];
            self.outcome.connections_opened += 1;
            match Client::connect(self.poll.registry(), Token(index), address, &self.spec.target) {
                Ok(client) => self.clients[index] = Some(client),
                Err(error) => {
                    self.outcome.due += 1;
                    self.outcome.fail(due, due, Failure::Connect, &error.to_string());
                    return Ok(());
                }
            }
        }
        let request = &self.requests[self.outcome.due as usize % self.requests.len()];
        self.outcome.due += 1;
        self.in_flight += 1;
        let step = match &mut self.clients[index] {
            Some(client) => client.start(request, due),
            None => return Ok(()),
        };
        self.step(index, step)
    }
}
