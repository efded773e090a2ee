//! Names of others: asked of the resolvers of the host (/etc/resolv.conf), with a cache.
//!
//! Promises: each question goes out from a socket of its own with an id of its own, and only an answer that repeats both
//! and the question counts; a resolver that does not answer in 2 s is followed by the next; what is truncated over UDP
//! is asked again over TCP when the client came by TCP. Refuses: more than `MOST_WAITING` questions at once per thread.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};

use super::cache::{Cache, Key};
use super::packet::{self, HEADER_BYTES, Query};
use crate::shim::clock;

const TRY_TIMEOUT: Duration = Duration::from_secs(2);
const MOST_WAITING: usize = 1000;
const MOST_RESOLVERS: usize = 3;
/// How often the list of resolvers is looked at.
const RELOAD: Duration = Duration::from_secs(5);

pub struct Forwarder {
    resolvers: RefCell<(Option<Instant>, Vec<SocketAddr>)>,
    cache: RefCell<Cache>,
    waiting: Cell<usize>,
    path: &'static str,
    random: RefCell<crate::balance::random::Random>,
}

impl Forwarder {
    pub fn new(seed: u64) -> Self {
        Self {
            resolvers: RefCell::default(),
            cache: RefCell::default(),
            waiting: Cell::new(0),
            path: "/etc/resolv.conf",
            random: RefCell::new(crate::balance::random::Random::new(seed)),
        }
    }

    #[cfg(test)]
    pub fn to(resolvers: Vec<SocketAddr>) -> Self {
        let forwarder = Self::new(7);
        // Far enough in the future not to be read again.
        *forwarder.resolvers.borrow_mut() = (Some(Instant::now() + Duration::from_secs(3600)), resolvers);
        forwarder
    }

    /// The answer of somebody else, as the client's. `None`: nobody answered.
    pub async fn ask(&self, query: &Query, over_tcp: bool) -> Option<Vec<u8>> {
        let dnssec_ok = query.edns.is_some_and(|edns| edns.dnssec_ok);
        let key = Key { name: query.name.clone(), kind: query.kind, dnssec_ok };
        let cached = self.cache.borrow_mut().get(&key, clock::monotonic_seconds());
        if let Some(message) = cached {
            return Some(as_answer_to(query, message));
        }
        let _place = Waiting::begin(&self.waiting)?;
        for resolver in self.resolvers() {
            let tried = tokio::time::timeout(TRY_TIMEOUT, self.ask_one(resolver, query, over_tcp)).await;
            let Ok(Ok(message)) = tried else { continue };
            // A resolver that fails may be followed by one that does not.
            if message[3] & 15 == 2 {
                continue;
            }
            self.cache.borrow_mut().put(key, &message, clock::monotonic_seconds());
            return Some(as_answer_to(query, message));
        }
        None
    }

    async fn ask_one(&self, resolver: SocketAddr, query: &Query, over_tcp: bool) -> io::Result<Vec<u8>> {
        let id = (self.random.borrow_mut().draw() >> 24) as u16;
        let question = outgoing(query, id);
        let answer = ask_udp(resolver, &question, query).await?;
        if over_tcp && answer[2] & 2 != 0 {
            return ask_tcp(resolver, &question, query).await;
        }
        Ok(answer)
    }

    fn resolvers(&self) -> Vec<SocketAddr> {
        let mut known = self.resolvers.borrow_mut();
        if known.0.is_none_or(|at| at + RELOAD < Instant::now()) {
            *known = (Some(Instant::now()), parse_resolvers(&std::fs::read_to_string(self.path).unwrap_or_default()));
        }
        known.1.clone()
    }
}

/// Counts a question that waits.
struct Waiting<'a>(&'a Cell<usize>);

impl<'a> Waiting<'a> {
    fn begin(count: &'a Cell<usize>) -> Option<Self> {
        if count.get() >= MOST_WAITING {
            return None;
        }
        count.set(count.get() + 1);
        Some(Self(count))
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

fn parse_resolvers(text: &str) -> Vec<SocketAddr> {
    let lines = text.lines().filter_map(|line| line.trim().strip_prefix("nameserver"));
    // A scope ("%eth0") is of no use from here.
    let addresses = lines.filter_map(|rest| rest.trim().split('%').next()?.parse::<IpAddr>().ok());
    addresses.map(|address| SocketAddr::new(address, 53)).take(MOST_RESOLVERS).collect()
}

fn outgoing(query: &Query, id: u16) -> Vec<u8> {
    let flags = 0x0100 | if query.checking_disabled { 0x0010 } else { 0 };
    let mut message = Vec::with_capacity(HEADER_BYTES + query.question.len() + 11);
    message.extend(id.to_be_bytes());
    message.extend::<[u8; 2]>((flags as u16).to_be_bytes());
    message.extend([0, 1, 0, 0, 0, 0, 0, u8::from(query.edns.is_some())]);
    message.extend_from_slice(&query.question);
    if let Some(edns) = query.edns {
        message.push(0);
        message.extend(packet::OPT.to_be_bytes());
        message.extend((packet::EDNS_BYTES as u16).to_be_bytes());
        message.extend([0, 0, if edns.dnssec_ok { 0x80 } else { 0 }, 0, 0, 0]);
    }
    message
}

async fn ask_udp(resolver: SocketAddr, question: &[u8], query: &Query) -> io::Result<Vec<u8>> {
    let any: IpAddr = if resolver.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(resolver).await?;
    socket.send(question).await?;
    let mut piece = [0u8; 4096];
    loop {
        let length = socket.recv(&mut piece).await?;
        if answers(&piece[..length], question, query) {
            return Ok(piece[..length].to_vec());
        }
    }
}

async fn ask_tcp(resolver: SocketAddr, question: &[u8], query: &Query) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(resolver).await?;
    let framed = [&(question.len() as u16).to_be_bytes()[..], question].concat();
    stream.write_all(&framed).await?;
    let length = stream.read_u16().await?;
    let mut answer = vec![0; usize::from(length)];
    stream.read_exact(&mut answer).await?;
    if answers(&answer, question, query) { Ok(answer) } else { Err(io::ErrorKind::InvalidData.into()) }
}

/// Whether a message answers our question and nothing else.
fn answers(message: &[u8], question: &[u8], query: &Query) -> bool {
    let repeated = message.get(HEADER_BYTES..HEADER_BYTES + query.question.len());
    message.len() >= HEADER_BYTES
        && message[..2] == question[..2]
        && message[2] & 0xf8 == 0x80
        && message[4..6] == [0, 1]
        && repeated.is_some_and(|repeated| repeated.eq_ignore_ascii_case(&query.question))
}

/// Somebody's answer with the client's id and spelling, and without what the client did not ask for.
fn as_answer_to(query: &Query, mut message: Vec<u8>) -> Vec<u8> {
    message[..2].copy_from_slice(&query.id.to_be_bytes());
    message[HEADER_BYTES..HEADER_BYTES + query.question.len()].copy_from_slice(&query.question);
    // Not our data, whoever said so.
    message[2] &= !4;
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolvers_are_read_as_the_c_library_reads_them() {
        let text = "# nameserver 9.9.9.9\nsearch x\nnameserver 1.1.1.1\nnameserver\t::1\nnameserver fe80::1%eth0\nnameserver 8.8.8.8\n";
        let found: Vec<String> = parse_resolvers(text).iter().map(SocketAddr::to_string).collect();
        assert_eq!(found, ["1.1.1.1:53", "[::1]:53", "[fe80::1]:53"]);
    }
}
