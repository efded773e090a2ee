//! Clients that take what they can get. Each connection asks for little but holds on: it stays idle (`idle`), sends its head
//! (`headers`) or its body (`bodies`) a byte a second, or reads a kilobyte a second of a large answer (`readers`). What the
//! other side closes is counted and opened again. `resets` opens `per_second` connections a second, asks and resets them.

use crate::client;
use crate::spec::{Abuse, AbuseKind};
use serde::Serialize;
use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

const TURN: Duration = Duration::from_millis(10);
/// Each connection has its turn once in so many.
const TURNS_A_SECOND: usize = 100;
/// At most so many are opened in a turn, so that no listen queue overflows.
const MOST_OPENED_IN_A_TURN: usize = 50;
const PATIENCE: Duration = Duration::from_millis(500);

#[derive(Serialize, Default)]
struct Abused {
    opened: u64,
    closed: u64,
    refused: u64,
}

struct Loop {
    spec: Abuse,
    begin: Vec<u8>,
    all: Vec<Option<TcpStream>>,
    abused: Abused,
}

pub fn run(spec: Abuse) -> io::Result<()> {
    let whole = client::requests(&spec.target)?.swap_remove(0).to_vec();
    let begin = match spec.kind {
        AbuseKind::Idle => Vec::new(),
        // Without the empty line, and in the middle of a field.
        AbuseKind::Headers => [&whole[..whole.len() - 2], b"x-slow: "].concat(),
        AbuseKind::Bodies => [&whole[..whole.len() - 2], b"content-length: 1000000\r\n\r\n"].concat(),
        AbuseKind::Readers | AbuseKind::Resets => whole,
    };
    let wanted = if matches!(spec.kind, AbuseKind::Resets) { 0 } else { spec.connections };
    let mut this = Loop { begin, all: Vec::new(), abused: Abused::default(), spec };
    this.all.resize_with(wanted, || None);
    this.turns()?;
    println!("{}", serde_json::to_string(&this.abused)?);
    Ok(())
}

impl Loop {
    fn turns(&mut self) -> io::Result<()> {
        let end = Instant::now() + Duration::from_secs_f64(self.spec.seconds);
        let (mut next, mut told, mut due) = (Instant::now(), false, 0.0);
        for turn in 0.. {
            if Instant::now() >= end {
                break;
            }
            self.open_some();
            if !told && self.all.iter().all(Option::is_some) {
                told = true;
                println!("{{\"ready\":{}}}", self.all.len());
            }
            for index in (turn % TURNS_A_SECOND..self.all.len()).step_by(TURNS_A_SECOND) {
                self.touch(index);
            }
            due += self.spec.per_second / TURNS_A_SECOND as f64;
            while due >= 1.0 {
                due -= 1.0;
                self.reset_one();
            }
            next += TURN;
            std::thread::sleep(next.saturating_duration_since(Instant::now()));
        }
        Ok(())
    }

    fn open(&mut self) -> Option<TcpStream> {
        let addresses = &self.spec.target.addresses;
        let opened = TcpStream::connect_timeout(&addresses[0], PATIENCE).and_then(|mut stream| {
            stream.write_all(&self.begin)?;
            stream.set_nonblocking(true)?;
            Ok(stream)
        });
        match opened {
            Ok(stream) => {
                self.abused.opened += 1;
                Some(stream)
            }
            Err(_) => {
                self.abused.refused += 1;
                None
            }
        }
    }

    fn open_some(&mut self) {
        let missing: Vec<usize> = (0..self.all.len()).filter(|index| self.all[*index].is_none()).collect();
        for index in missing.into_iter().take(MOST_OPENED_IN_A_TURN) {
            self.all[index] = self.open();
        }
    }

    /// The least that keeps a connection alive; one that is over is counted.
    fn touch(&mut self, index: usize) {
        let Some(stream) = &mut self.all[index] else { return };
        let mut piece = [0u8; 1024];
        let over = match stream.read(&mut piece) {
            Ok(n) => n == 0,
            Err(error) => error.kind() != ErrorKind::WouldBlock,
        };
        let slow = matches!(self.spec.kind, AbuseKind::Headers | AbuseKind::Bodies);
        let refused = slow && stream.write(b"a").is_err_and(|error| error.kind() != ErrorKind::WouldBlock);
        if over || refused {
            self.all[index] = None;
            self.abused.closed += 1;
        }
    }

    fn reset_one(&mut self) {
        if let Some(stream) = self.open() {
            let _ = socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO));
        }
    }
}
