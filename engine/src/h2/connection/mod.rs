//! An HTTP/2 connection without its socket (RFC 9113): bytes in, streams that can be read and written, bytes out.
//!
//! Promises: nothing here waits or does I/O. Whoever has the socket gives what came to `receive`, sends what `pending` shows,
//! and is woken by `driver` when there is more to send. Streams are read and written as HTTP/1.1 bytes; the peer's windows
//! bound what is sent, ours what is kept, and whoever reads slowly slows the peer. Refuses: see `receive` and `calm`.

mod control;
mod headers;
mod receive;
mod send;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::collections::VecDeque;
use std::io;
use std::task::{Context as Task, Poll, Waker};

use slab::Slab;
use tokio::io::ReadBuf;

use super::calm::Calm;
use super::frame::{self, Reason};
use super::hpack::{Decoder, Encoder};
use super::message::Scratch;
use super::settings::{INITIAL_WINDOW, Peer, id};
use super::stream::Stream;

/// Bytes that may wait for the socket before streams have to wait.
const BACKLOG_BYTES: usize = 64 << 10;
/// Streams whose end is remembered, so that what was on its way is told from nonsense.
const REMEMBERED: usize = 128;
const SPARES: usize = 16;
const SPARE_BYTES: usize = 4096;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    Server,
    Client,
}

/// What we allow the peer.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    pub role: Role,
    pub max_streams: u32,
    pub window_bytes: u32,
    pub connection_window_bytes: u32,
    pub max_header_bytes: usize,
    /// Monotonic nanoseconds.
    pub clock: fn() -> u64,
}

/// The connection is over; the peer is told why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fatal(pub Reason);

/// What whoever accepts streams must know, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    Opened(usize),
    /// The peer took it back, or it was malformed.
    Gone(usize),
}

pub struct Connection {
    limits: Limits,
    streams: Slab<Stream>,
    keys: HashMap<u32, usize, foldhash::fast::RandomState>,
    /// Streams that have ended: who reset it, if it was us.
    ended: VecDeque<(u32, bool)>,
    decoder: Decoder,
    encoder: Encoder,
    scratch: Scratch,
    spares: Vec<Vec<u8>>,
    pub events: Vec<Event>,
    /// Streams and connections that ended for the peer's fault.
    pub faults: u64,
    /// Requests whose trailers nobody took.
    pub untold: u64,
    calm: Calm,
    peer: Peer,
    /// What we may send on all streams together, what the peer may, and what we have read but not given back.
    window: i64,
    credit: i64,
    owed: u32,
    /// The highest stream that the peer opened; the next of ours.
    last_peer: u32,
    next_own: u32,
    receiving: receive::Receiving,
    output: Vec<u8>,
    sent: usize,
    /// The DATA frame that ends the output: its stream, and where its header is.
    tail: Option<(u32, usize)>,
    starved: bool,
    /// Of ours and of the peer's: no stream above it is looked at.
    farewell: Farewell,
    peer_farewell: Option<u32>,
    dead: bool,
    driver: Option<Waker>,
    /// They wait for the peer's settings.
    curious: Vec<Waker>,
}

/// How far our own goodbye is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Farewell {
    No,
    /// The peer knows; streams that were on their way are still taken.
    Announced,
    /// Streams above this one are not looked at.
    Said(u32),
}

/// What tells the farewell's ping from others.
const FAREWELL_PING: [u8; 8] = *b"farewell";

impl Connection {
    pub fn new(limits: Limits) -> Self {
        let server = limits.role == Role::Server;
        let mut new = Self {
            limits,
            streams: Slab::new(),
            keys: HashMap::default(),
            ended: VecDeque::new(),
            decoder: Decoder::default(),
            encoder: Encoder::default(),
            scratch: Scratch::default(),
            spares: Vec::new(),
            events: Vec::new(),
            faults: 0,
            untold: 0,
            calm: Calm::new((limits.clock)()),
            peer: Peer::default(),
            window: i64::from(INITIAL_WINDOW),
            credit: i64::from(limits.connection_window_bytes),
            owed: 0,
            last_peer: 0,
            next_own: 1,
            receiving: receive::Receiving::new(server),
            output: Vec::new(),
            sent: 0,
            tail: None,
            starved: false,
            farewell: Farewell::No,
            peer_farewell: None,
            dead: false,
            driver: None,
            curious: Vec::new(),
        };
        new.greet();
        new
    }

    fn greet(&mut self) {
        let limits = self.limits;
        let window = (id::INITIAL_WINDOW_SIZE, limits.window_bytes);
        let list = (id::MAX_HEADER_LIST_SIZE, limits.max_header_bytes as u32);
        if limits.role == Role::Server {
            let streams = (id::MAX_CONCURRENT_STREAMS, limits.max_streams);
            let connect = (id::ENABLE_CONNECT_PROTOCOL, 1);
            frame::write_settings(0, &[streams, window, list, connect], &mut self.output);
        } else {
            self.output.extend_from_slice(frame::PREFACE);
            frame::write_settings(0, &[(id::ENABLE_PUSH, 0), window, list], &mut self.output);
        }
        let more = limits.connection_window_bytes - INITIAL_WINDOW;
        if more > 0 {
            frame::write_window_update(0, more, &mut self.output);
        }
    }

    /// Gives memory back, for a time without streams.
    pub fn shrink(&mut self) {
        self.spares = Vec::new();
        self.events = Vec::new();
        self.scratch = Scratch::default();
        self.streams.shrink_to_fit();
        self.keys.shrink_to_fit();
    }

    /// Streams that have not ended on both sides, or that somebody still holds.
    pub fn streams(&self) -> usize {
        self.streams.len()
    }

    /// A new stream of ours may be opened.
    pub fn has_room(&self, most: usize) -> bool {
        let most = most.min(self.peer.max_streams as usize);
        !self.dead && self.peer_farewell.is_none() && self.next_own < 1 << 30 && self.streams.len() < most
    }

    pub fn is_dead(&self) -> bool {
        self.dead
    }

    /// The peer, or we, have said that no new stream will be served.
    pub fn is_leaving(&self) -> bool {
        self.farewell != Farewell::No || self.peer_farewell.is_some()
    }

    /// A header block has begun and not ended.
    pub fn waits_for_headers(&self) -> bool {
        self.receiving.within_block()
    }

    /// Whether the peer takes extended CONNECT (RFC 8441), which it says in its first frame.
    pub fn poll_takes_websockets(&mut self, task: &Task<'_>) -> Poll<io::Result<bool>> {
        if self.dead {
            return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
        }
        if self.receiving.greeted {
            return Poll::Ready(Ok(self.peer.connect_protocol));
        }
        self.curious.push(task.waker().clone());
        Poll::Pending
    }

    pub fn takes_websockets(&self) -> bool {
        self.peer.connect_protocol
    }

    /// Opens a stream of ours.
    pub fn open(&mut self) -> io::Result<usize> {
        if self.dead || self.peer_farewell.is_some() || self.next_own >= 1 << 30 {
            return Err(io::ErrorKind::NotConnected.into());
        }
        let id = self.next_own;
        self.next_own += 2;
        Ok(self.insert(id))
    }

    fn insert(&mut self, id: u32) -> usize {
        let inbound = self.spares.pop().unwrap_or_default();
        let window = i64::from(self.peer.initial_window);
        let key = self.streams.insert(Stream::new(id, inbound, window, i64::from(self.limits.window_bytes)));
        self.keys.insert(id, key);
        key
    }

    pub fn peek(&self, key: usize) -> &Stream {
        &self.streams[key]
    }

    pub fn stream(&mut self, key: usize) -> &mut Stream {
        &mut self.streams[key]
    }

    /// Reads what has come; nothing when all has.
    pub fn poll_read(&mut self, key: usize, task: &Task<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let stream = &mut self.streams[key];
        let here = &stream.inbound[stream.at..];
        if here.is_empty() {
            if stream.failed.is_some() {
                return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
            }
            if !stream.receiving {
                return Poll::Ready(Ok(()));
            }
            keep_waker(&mut stream.reader, task);
            return Poll::Pending;
        }
        let n = here.len().min(out.remaining());
        out.put_slice(&here[..n]);
        stream.at += n;
        if stream.at == stream.inbound.len() {
            stream.inbound.clear();
            stream.at = 0;
        }
        self.give_back(key, n);
        Poll::Ready(Ok(()))
    }

    /// Waits for the end of what the peer sends; gives the trailers of a message that told its length.
    pub fn poll_end(&mut self, key: usize, task: &Task<'_>) -> Poll<io::Result<Vec<u8>>> {
        let stream = &mut self.streams[key];
        if stream.failed.is_some() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        if stream.receiving {
            keep_waker(&mut stream.reader, task);
            return Poll::Pending;
        }
        Poll::Ready(Ok(std::mem::take(&mut stream.trailers)))
    }

    /// So much was read: the peer may send as much again, which it is told when it is worth a frame.
    fn give_back(&mut self, key: usize, read: usize) {
        let stream = &mut self.streams[key];
        let n = stream.unread.min(read as u32);
        if n == 0 {
            return;
        }
        stream.unread -= n;
        stream.owed += n;
        if stream.receiving && stream.owed >= self.limits.window_bytes / 2 {
            let owed = std::mem::take(&mut stream.owed);
            stream.credit += i64::from(owed);
            let id = stream.id;
            frame::write_window_update(id, owed, &mut self.output);
            self.nudge();
        }
        self.settle(n);
    }

    /// The same for the connection's window.
    fn settle(&mut self, n: u32) {
        self.owed += n;
        if self.owed >= self.limits.connection_window_bytes / 2 {
            let owed = std::mem::take(&mut self.owed);
            self.credit += i64::from(owed);
            frame::write_window_update(0, owed, &mut self.output);
            self.nudge();
        }
    }

    /// Nobody holds the stream any more. What is not over is ended with `reason`.
    pub fn release(&mut self, key: usize, reason: Reason) {
        let stream = self.streams.remove(key);
        self.keys.remove(&stream.id);
        self.untold += u64::from(!stream.trailers.is_empty());
        self.settle(stream.unread);
        if stream.failed.is_none() {
            let over = !stream.sending;
            if over && !stream.receiving {
                self.calm.ended_well();
                self.remember(stream.id, false);
            } else {
                // A whole answer without a need for the rest of the request is no error (RFC 9113, 8.1).
                let reason = if over && self.limits.role == Role::Server { Reason::NO_ERROR } else { reason };
                frame::write_reset(stream.id, reason, &mut self.output);
                self.remember(stream.id, true);
                self.nudge();
            }
        }
        let mut inbound = stream.inbound;
        if self.spares.len() < SPARES && inbound.capacity() <= SPARE_BYTES && inbound.capacity() > 0 {
            inbound.clear();
            self.spares.push(inbound);
        }
        if self.is_leaving() && self.streams.is_empty() {
            self.nudge();
        }
    }

    fn remember(&mut self, id: u32, by_us: bool) {
        if self.ended.len() == REMEMBERED {
            self.ended.pop_front();
        }
        self.ended.push_back((id, by_us));
    }

    /// Says that no new streams are wanted; those on their way are taken, and all end as they would.
    pub fn say_farewell(&mut self) {
        if self.farewell != Farewell::No || self.dead {
            return;
        }
        if self.limits.role == Role::Client {
            frame::write_goaway(0, Reason::NO_ERROR, &mut self.output);
            self.farewell = Farewell::Said(0);
        } else {
            frame::write_goaway(0x7fff_ffff, Reason::NO_ERROR, &mut self.output);
            frame::write_ping(0, &FAREWELL_PING, &mut self.output);
            self.farewell = Farewell::Announced;
        }
        self.nudge();
    }

    /// Both sides have nothing left to say.
    pub fn is_over(&self) -> bool {
        let leaving = matches!(self.farewell, Farewell::Said(_)) || self.peer_farewell.is_some();
        self.dead || (leaving && self.streams.is_empty())
    }

    /// The socket is gone, or the peer must not be listened to any more.
    pub fn die(&mut self, fatal: Option<Fatal>) {
        if self.dead {
            return;
        }
        self.dead = true;
        self.curious.drain(..).for_each(Waker::wake);
        if let Some(Fatal(reason)) = fatal {
            self.faults += u64::from(reason != Reason::NO_ERROR);
            frame::write_goaway(self.last_peer, reason, &mut self.output);
        }
        for (_, stream) in &mut self.streams {
            stream.failed.get_or_insert(Reason::CANCEL);
            stream.wake_reader();
            stream.wake_writer();
        }
        self.nudge();
    }

    /// Whoever has the socket is woken by this when there is something to do for it.
    pub fn set_driver(&mut self, task: &Task<'_>) {
        keep_waker(&mut self.driver, task);
    }

    /// The driver is at work: it need not be woken.
    pub fn take_driver(&mut self) {
        self.driver = None;
    }

    pub fn nudge(&mut self) {
        if let Some(waker) = self.driver.take() {
            waker.wake();
        }
    }
}

fn keep_waker(place: &mut Option<Waker>, task: &Task<'_>) {
    if !place.as_ref().is_some_and(|w| w.will_wake(task.waker())) {
        *place = Some(task.waker().clone());
    }
}
