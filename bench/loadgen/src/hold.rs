//! Holds many connections: each makes one request (or an upgrade to an echo) and then stays. What the other side closes
//! is counted; with `period_seconds`, each upgraded connection says a byte once a period and must hear it back.

use crate::client::{self, Client, READ_BYTES, Step};
use crate::spec::Hold;
use mio::{Events, Poll, Token};
use serde::Serialize;
use std::io::{self, ErrorKind, Read, Write};
use std::rc::Rc;
use std::time::{Duration, Instant};

/// Nothing is said so shortly before the end, so that what was said can still be heard.
const LAST_WORD: Duration = Duration::from_millis(200);

#[derive(Serialize, Default)]
struct Held {
    wanted: usize,
    opened: usize,
    closed: usize,
    failed: usize,
    said: u64,
    heard: u64,
    /// The longest time between a byte and its echo.
    slowest_ms: f64,
}

#[derive(PartialEq, Eq, Clone, Copy)]
enum State {
    Asking,
    Open,
    Gone,
}

struct Held1 {
    client: Client,
    state: State,
    said: Option<Instant>,
}

struct Loop {
    spec: Hold,
    poll: Poll,
    request: Rc<[u8]>,
    all: Vec<Held1>,
    held: Held,
}

pub fn run(mut spec: Hold) -> io::Result<()> {
    if spec.upgrade {
        spec.target.headers.push(("Connection".into(), "Upgrade".into()));
        spec.target.headers.push(("Upgrade".into(), "websocket".into()));
        spec.target.headers.push(("Sec-WebSocket-Version".into(), "13".into()));
        spec.target.headers.push(("Sec-WebSocket-Key".into(), "dGhlIHNhbXBsZSBub25jZQ==".into()));
    }
    let request = client::requests(&spec.target)?.swap_remove(0);
    let held = Held { wanted: spec.connections, ..Held::default() };
    let mut this = Loop { poll: Poll::new()?, request, all: Vec::new(), held, spec };
    this.turn()?;
    println!("{}", serde_json::to_string(&this.held)?);
    Ok(())
}

impl Loop {
    fn turn(&mut self) -> io::Result<()> {
        let end = Instant::now() + Duration::from_secs_f64(self.spec.seconds);
        let period = Duration::from_secs_f64(self.spec.period_seconds);
        let mut events = Events::with_capacity(1024);
        let mut buffer = vec![0; READ_BYTES];
        let (mut next_round, mut told) = (Instant::now() + period, false);
        while Instant::now() < end {
            self.open_some()?;
            match self.poll.poll(&mut events, Some(Duration::from_millis(10))) {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                other => other?,
            }
            for event in &events {
                self.event(event, &mut buffer);
            }
            if !told && self.settled() {
                told = true;
                println!("{{\"ready\":{}}}", self.held.opened);
            }
            let now = Instant::now();
            if !period.is_zero() && now >= next_round {
                next_round += period;
                if end.saturating_duration_since(now) > LAST_WORD {
                    self.say();
                }
            }
        }
        Ok(())
    }

    fn settled(&self) -> bool {
        self.all.len() == self.spec.connections && self.all.iter().all(|one| one.state != State::Asking)
    }

    /// At most 64 unanswered at a time, so that no listen queue overflows.
    fn open_some(&mut self) -> io::Result<()> {
        let asking = self.all.iter().rev().take(128).filter(|one| one.state == State::Asking).count();
        for _ in asking..64 {
            let index = self.all.len();
            if index >= self.spec.connections {
                break;
            }
            let address = self.spec.target.addresses[index % self.spec.target.addresses.len()];
            let mut client = Client::connect(self.poll.registry(), Token(index), address, &self.spec.target)?;
            let step = client.start(&self.request, Instant::now());
            self.all.push(Held1 { client, state: State::Asking, said: None });
            self.step(index, step);
        }
        Ok(())
    }

    fn event(&mut self, event: &mio::event::Event, buffer: &mut [u8]) {
        let index = event.token().0;
        match self.all[index].state {
            State::Gone => {}
            State::Open if self.spec.upgrade => self.hear(index, buffer),
            _ => {
                let step = self.all[index].client.event(event, buffer);
                self.step(index, step);
            }
        }
    }

    fn step(&mut self, index: usize, step: Step) {
        let one = &mut self.all[index];
        match step {
            Step::Waiting => {}
            Step::Answered => {
                one.client.due = None;
                let wanted = if self.spec.upgrade { 101 } else { 200 };
                if one.client.reader.status == wanted {
                    one.state = State::Open;
                    self.held.opened += 1;
                } else {
                    one.state = State::Gone;
                    self.held.failed += 1;
                }
            }
            Step::Failed(..) => {
                one.state = State::Gone;
                self.held.failed += 1;
            }
            Step::ClosedIdle => {
                one.state = State::Gone;
                self.held.closed += 1;
            }
        }
    }

    fn say(&mut self) {
        for one in self.all.iter_mut().filter(|one| one.state == State::Open && one.said.is_none()) {
            if one.client.stream().write(b"x").is_ok() {
                one.said = Some(Instant::now());
                self.held.said += 1;
            }
        }
    }

    fn hear(&mut self, index: usize, buffer: &mut [u8]) {
        let one = &mut self.all[index];
        match one.client.stream().read(buffer) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Ok(n) if n > 0 => {
                if let Some(said) = one.said.take() {
                    self.held.heard += 1;
                    self.held.slowest_ms = self.held.slowest_ms.max(said.elapsed().as_secs_f64() * 1e3);
                }
            }
            _ => {
                one.state = State::Gone;
                self.held.closed += 1;
            }
        }
    }
}
