//! DNS for pods and for the host: our names from the table, everything else from the host's resolvers.
//!
//! `packet` reads and `reply` writes messages, `zone` knows our names, `forward` asks others. Promises: answers change
//! with the endpoints at once; a question is answered or dropped, never both; UDP answers fit what the client takes, else
//! they are truncated and it asks over TCP. Refuses: zone transfers, updates, classes other than IN.

mod cache;
mod forward;
pub mod packet;
mod reply;
pub mod zone;

use std::cell::RefCell;
use std::io;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::task::spawn_local;

use forward::Forwarder;
use packet::{Bad, Code, Query};
use reply::Parts;
use zone::{Found, Lookup, Value, Zone};

const TCP_IDLE: Duration = Duration::from_secs(10);

/// What gives the zone of the moment.
pub type CurrentZone = Rc<dyn Fn() -> Arc<Zone>>;

/// One thread's DNS.
pub struct Server {
    zone: CurrentZone,
    forwarder: Forwarder,
    turn: RefCell<crate::balance::random::Random>,
}

impl Server {
    pub fn new(zone: CurrentZone, seed: u64) -> Rc<Self> {
        let turn = RefCell::new(crate::balance::random::Random::new(seed));
        Rc::new(Self { zone, forwarder: Forwarder::new(seed ^ 0x5bd1), turn })
    }

    /// Answers until the socket is taken away.
    pub async fn serve_udp(self: Rc<Self>, socket: UdpSocket) {
        let socket = Rc::new(socket);
        let mut piece = [0u8; 4096];
        loop {
            let Ok((length, client)) = socket.recv_from(&mut piece).await else {
                // An ICMP error of an earlier answer; there is nobody to tell.
                tokio::task::yield_now().await;
                continue;
            };
            match self.at_once(&piece[..length], false) {
                Now::Answer(answer) => {
                    let _ = socket.send_to(&answer, client).await;
                }
                Now::Nothing => {}
                Now::Later(query, answers, target) => {
                    let (server, socket) = (self.clone(), socket.clone());
                    spawn_local(async move {
                        let answer = server.ask_elsewhere(&query, answers, &target, false).await;
                        let _ = socket.send_to(&answer, client).await;
                    });
                }
            }
        }
    }

    /// Answers one connection's questions in their order (RFC 7766).
    pub async fn serve_tcp(self: Rc<Self>, mut stream: TcpStream) -> io::Result<()> {
        loop {
            let length = tokio::time::timeout(TCP_IDLE, stream.read_u16()).await??;
            let mut message = vec![0; usize::from(length)];
            tokio::time::timeout(TCP_IDLE, stream.read_exact(&mut message)).await??;
            let answer = match self.at_once(&message, true) {
                Now::Answer(answer) => answer,
                Now::Nothing => return Ok(()),
                Now::Later(query, answers, target) => self.ask_elsewhere(&query, answers, &target, true).await,
            };
            let framed = [&(answer.len() as u16).to_be_bytes()[..], &answer].concat();
            tokio::time::timeout(TCP_IDLE, stream.write_all(&framed)).await??;
        }
    }

    /// Everything that can be said without asking others.
    fn at_once(&self, message: &[u8], over_tcp: bool) -> Now {
        let query = match Query::parse(message) {
            Ok(query) => query,
            Err(Bad::Ignore) => return Now::Nothing,
            Err(Bad::Answer { id, opcode, code }) => return Now::Answer(packet::bare(id, opcode, code)),
        };
        let most = most_bytes(&query, over_tcp);
        if query.edns.is_some_and(|edns| edns.version > 0) {
            return Now::Answer(reply::write(&query, Code::BadVersion, &Parts::default(), most));
        }
        if query.class != packet::IN || matches!(query.kind, packet::AXFR | packet::IXFR) {
            return Now::Answer(reply::write(&query, Code::Refused, &Parts::default(), most));
        }
        let zone = (self.zone)();
        let nothing_in = zone.zone_of(&query.name);
        let (code, parts) = match zone.lookup(&query.name, query.kind) {
            Lookup::NotOurs => {
                let name = query.name.clone();
                return Now::Later(query, Vec::new(), name);
            }
            Lookup::Elsewhere { answers, target } => return Now::Later(query, answers, target),
            Lookup::Found { mut answers, more } => {
                self.take_turns(&mut answers);
                let parts = Parts { answers: &answers, more: &more, authoritative: true, nothing_in: None };
                return Now::Answer(reply::write(&query, Code::NoError, &parts, most));
            }
            Lookup::NoData => (Code::NoError, Parts { nothing_in, authoritative: true, ..Parts::default() }),
            Lookup::NoSuchName => (Code::NoSuchName, Parts { nothing_in, authoritative: true, ..Parts::default() }),
        };
        Now::Answer(reply::write(&query, code, &parts, most))
    }

    /// Clients that take the first address are spread over all.
    fn take_turns(&self, answers: &mut [Found]) {
        let addresses = answers.iter().filter(|found| matches!(found.value, Value::Address(_))).count();
        if addresses == answers.len() && addresses > 1 {
            let turn = self.turn.borrow_mut().draw() as usize % addresses;
            answers.rotate_left(turn);
        }
    }

    /// Asks others for `target`; `answers` (aliases of ours) come before what they say.
    async fn ask_elsewhere(&self, query: &Query, answers: Vec<Found>, target: &str, over_tcp: bool) -> Vec<u8> {
        let most = most_bytes(query, over_tcp);
        if answers.is_empty() {
            return match self.forwarder.ask(query, over_tcp).await {
                Some(message) if message.len() <= most => message,
                Some(message) => cut(query, &message),
                None => reply::write(query, Code::ServerFailure, &Parts::default(), most),
            };
        }
        let mut all = answers;
        if let Some(question) = packet::question_of(target, query.kind) {
            let question = Query { name: target.to_owned(), question, edns: None, ..query.clone() };
            if let Some(message) = self.forwarder.ask(&question, true).await {
                all.extend(records_of(&message));
            }
        }
        reply::write(query, Code::NoError, &Parts { answers: &all, authoritative: true, ..Parts::default() }, most)
    }
}

/// What a name's records say. `ours`: the table's own Names say it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Addresses {
    pub list: Vec<IpAddr>,
    pub ttl_seconds: u32,
    pub ours: bool,
}

impl Server {
    /// All addresses of a name, in order. `None`: nobody answered.
    pub async fn addresses(&self, name: &str) -> Option<Addresses> {
        let (four, six) = (self.records(name, packet::A).await, self.records(name, packet::AAAA).await);
        if four.is_none() && six.is_none() {
            return None;
        }
        let ours = [&four, &six].iter().all(|found| found.as_ref().is_none_or(|(_, ours)| *ours));
        let found: Vec<_> = [four, six].into_iter().flatten().flat_map(|(found, _)| found).collect();
        let ttl_seconds = found.iter().map(|one| one.ttl).min().unwrap_or(0);
        let address = |one: &Found| match one.value {
            Value::Address(address) => Some(address),
            _ => None,
        };
        let mut list: Vec<_> = found.iter().filter_map(address).collect();
        list.sort_unstable();
        list.dedup();
        Some(Addresses { list, ttl_seconds, ours })
    }

    async fn records(&self, name: &str, kind: u16) -> Option<(Vec<Found>, bool)> {
        let zone = (self.zone)();
        let elsewhere = match zone.lookup(name, kind) {
            Lookup::Found { answers, .. } => return Some((answers, true)),
            Lookup::NoData | Lookup::NoSuchName => return Some((Vec::new(), true)),
            Lookup::Elsewhere { target, .. } => target,
            Lookup::NotOurs => name.to_owned(),
        };
        let question = packet::question_of(&elsewhere, kind)?;
        let query = Query {
            id: 0,
            recursion_desired: true,
            checking_disabled: false,
            name: elsewhere,
            kind,
            class: packet::IN,
            question,
            edns: None,
        };
        let message = self.forwarder.ask(&query, true).await?;
        Some((records_of(&message), false))
    }
}

enum Now {
    Answer(Vec<u8>),
    Nothing,
    Later(Query, Vec<Found>, String),
}

fn most_bytes(query: &Query, over_tcp: bool) -> usize {
    if over_tcp { usize::from(u16::MAX) } else { query.udp_bytes() }
}

/// An answer that is too long for the client's UDP: only that it is.
fn cut(query: &Query, message: &[u8]) -> Vec<u8> {
    let mut out = reply::write(query, Code::NoError, &Parts::default(), packet::PLAIN_BYTES);
    out[2] |= 2;
    out[3] = out[3] & 0xf0 | message[3] & 15;
    out
}

/// The addresses and aliases in somebody's answer.
fn records_of(message: &[u8]) -> Vec<Found> {
    let mut found = Vec::new();
    let Some((_, after)) = packet::read_name(message, packet::HEADER_BYTES) else { return found };
    let mut place = after + 4;
    for _ in 0..u16::from_be_bytes([message[6], message[7]]) {
        let Some((record, end)) = packet::read_record(message, place) else { break };
        place = end;
        let data = &message[record.data.clone()];
        let value = match record.kind {
            packet::A => <[u8; 4]>::try_from(data).ok().map(|bytes| Value::Address(bytes.into())),
            packet::AAAA => <[u8; 16]>::try_from(data).ok().map(|bytes| Value::Address(bytes.into())),
            packet::CNAME => packet::read_name(message, record.data.start).map(|(name, _)| Value::Alias(name)),
            _ => None,
        };
        found.extend(value.map(|value| Found { name: record.name, ttl: record.ttl, value }));
    }
    found
}

#[cfg(test)]
mod tests;
