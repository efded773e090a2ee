//! UDP at layer 4: a session per client, to one endpoint.
//!
//! Promises: a client's datagrams go to one endpoint while it is there and the client is not silent for long (30 s, 120 s
//! once both have spoken for a while, or the Backend's idle timeout: as conntrack has it); once the endpoint drains or is
//! gone, the next datagram finds another, and what the old one still answers arrives. A refused datagram (ICMP) ends
//! the session. Each listener belongs to one thread, so a client's choice is one choice. A newcomer beyond `MOST_SESSIONS`
//! of a listener, or beyond what descriptors there are, takes the place of about the longest silent (`crowd`; those in the
//! middle of a conversation last); it is counted.

mod crowd;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::Interest;
use tokio::net::UdpSocket;
use tokio::task::{AbortHandle, spawn_local};

use crate::balance::outlier::Outcome;
use crate::stats::session_log::Record;
use crate::table::backend::Backend;
use crate::table::endpoint::{Endpoint, InFlight};
use crate::worker::context::Context;

use crowd::Crowd;

const MOST_SESSIONS: usize = if cfg!(test) { 64 } else { 16_384 };
const QUIET: Duration = Duration::from_secs(30);
const TALKING: Duration = Duration::from_secs(120);
/// Both have spoken for this long: a conversation, not a question and its answer.
const CONVERSATION: Duration = Duration::from_secs(2);
const SWEEP: Duration = Duration::from_secs(1);
/// How long a drain waits for an answer that is due.
const LAST_ANSWER: Duration = Duration::from_secs(5);
const LARGEST_BYTES: usize = 65_535;
/// Datagrams taken before others get their turn.
const BURST: usize = 64;
/// Endpoints that a datagram is offered to.
const TRIES: usize = 3;

struct Session {
    upstream: Rc<UdpSocket>,
    backend: Arc<Backend>,
    endpoint: Arc<Endpoint>,
    answers: AbortHandle,
    state: Rc<State>,
    record: Option<Box<Record>>,
    _in_flight: InFlight,
}

struct State {
    began: Instant,
    heard: Cell<Instant>,
    answered: Cell<Option<Instant>>,
    /// Bytes from the client, and to it.
    bytes: (Cell<u64>, Cell<u64>),
    /// The endpoint's port is closed.
    refused: Cell<bool>,
}

impl Drop for Session {
    fn drop(&mut self) {
        self.answers.abort();
        if let Some(record) = &mut self.record {
            let State { bytes, refused, .. } = &*self.state;
            record.bytes = (bytes.0.get(), bytes.1.get());
            record.reason = if refused.get() { "the endpoint's port is closed" } else { "" };
        }
    }
}

struct Sessions {
    context: Rc<Context>,
    socket: Rc<UdpSocket>,
    id: Rc<str>,
    open: RefCell<HashMap<SocketAddr, Session>>,
    crowd: RefCell<Crowd<SocketAddr>>,
    /// Sessions whose endpoint is going; their last answers still arrive.
    leaving: RefCell<Vec<Session>>,
}

/// Carries until its task is ended.
pub async fn serve(context: Rc<Context>, socket: UdpSocket, id: Rc<str>) {
    let sessions = Sessions {
        context,
        socket: Rc::new(socket),
        id,
        open: RefCell::default(),
        crowd: RefCell::default(),
        leaving: RefCell::default(),
    };
    let sweeping = async {
        loop {
            tokio::time::sleep(SWEEP).await;
            sessions.sweep(Instant::now());
        }
    };
    tokio::join!(sessions.receive(), sweeping);
}

impl Sessions {
    async fn receive(&self) {
        let mut piece = vec![0; LARGEST_BYTES];
        loop {
            if self.socket.readable().await.is_err() {
                return;
            }
            for _ in 0..BURST {
                match self.socket.try_recv_from(&mut piece) {
                    Ok((length, client)) => self.pass_on(client, &piece[..length]).await,
                    Err(_) => break,
                }
            }
            tokio::task::yield_now().await;
        }
    }

    async fn pass_on(&self, client: SocketAddr, datagram: &[u8]) {
        for _ in 0..TRIES {
            let Some(upstream) = self.upstream_of(client, datagram.len()).await else { return };
            // Straight to the kernel (a fresh socket is not known to be writable yet); a full buffer drops it, as UDP does.
            match socket2::SockRef::from(&*upstream).send(datagram) {
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => self.refused(client),
                _ => return,
            }
        }
    }

    /// An earlier datagram found the endpoint's port closed.
    fn refused(&self, client: SocketAddr) {
        let Some(session) = self.open.borrow_mut().remove(&client) else { return };
        session.state.refused.set(true);
        note_refusal(&self.context, &session.backend, &session.endpoint);
    }

    async fn upstream_of(&self, client: SocketAddr, length: usize) -> Option<Rc<UdpSocket>> {
        let known = self.open.borrow_mut().remove(&client);
        if let Some(session) = known {
            if session.endpoint.keeps_connections() && !session.state.refused.get() {
                session.state.heard.set(Instant::now());
                add(&session.state.bytes.0, length);
                let upstream = session.upstream.clone();
                self.open.borrow_mut().insert(client, session);
                return Some(upstream);
            }
            // One whose port is closed owes no answer; keeping it would keep a socket for every datagram.
            if !session.state.refused.get() {
                self.leaving.borrow_mut().push(session);
            }
        }
        let backend = self.context.listener(&self.id)?.backend.clone()?;
        if self.open.borrow().len() >= MOST_SESSIONS {
            self.make_room();
        }
        let session = self.begin(&backend, client).await?;
        add(&session.state.bytes.0, length);
        let upstream = session.upstream.clone();
        let mut open = self.open.borrow_mut();
        let mut crowd = self.crowd.borrow_mut();
        open.insert(client, session);
        crowd.join(client);
        crowd.keep(open.len(), |one| open.contains_key(one));
        Some(upstream)
    }

    /// Ends about the longest silent session. False: there is none.
    fn make_room(&self) -> bool {
        let mut open = self.open.borrow_mut();
        let gone = self.crowd.borrow_mut().leave(|client| open.get(client).map(|session| session.state.worth()));
        let Some(session) = gone.and_then(|client| open.remove(&client)) else { return false };
        drop(session);
        if let Some(listener) = self.context.listener(&self.id) {
            listener.counters.evicted.add(1);
        }
        true
    }

    async fn begin(&self, backend: &Arc<Backend>, client: SocketAddr) -> Option<Session> {
        let peer = client.ip().to_canonical();
        let ask = self.context.ask(backend, peer, &[]);
        let Some((endpoint, in_flight)) = backend.shared.choose(&ask) else {
            backend.shared.no_endpoint.add(1);
            return None;
        };
        let upstream = match connect(endpoint.address).await {
            Err(error) if is_shortage(&error) && self.make_room() => connect(endpoint.address).await.ok()?,
            connected => connected.ok()?,
        };
        let upstream = Rc::new(upstream);
        let now = Instant::now();
        let state = Rc::new(State {
            began: now,
            heard: Cell::new(now),
            answered: Cell::new(None),
            bytes: Default::default(),
            refused: Cell::new(false),
        });
        let listener = self.context.listener(&self.id);
        listener.iter().for_each(|listener| listener.counters.connections.add(1));
        let log = listener.as_ref().and_then(|listener| listener.log.as_ref());
        let mut record = log.and_then(|_| Record::begin(log, "udp", client, self.context.draw()));
        if let Some(record) = &mut record {
            record.backend.clone_from(&backend.spec.id);
            record.endpoint = Some(endpoint.address);
        }
        let answers = Answers {
            context: self.context.clone(),
            backend: backend.clone(),
            endpoint: endpoint.clone(),
            upstream: upstream.clone(),
            state: state.clone(),
        };
        let answers = spawn_local(send_back(answers, self.socket.clone(), client)).abort_handle();
        Some(Session { upstream, backend: backend.clone(), endpoint, answers, state, record, _in_flight: in_flight })
    }

    fn sweep(&self, now: Instant) {
        let idle = self.context.listener(&self.id).and_then(|listener| {
            let seconds = listener.backend.as_ref()?.spec.timeouts.as_ref()?.idle();
            (seconds > 0.0).then(|| Duration::from_secs_f64(seconds))
        });
        self.open.borrow_mut().retain(|_, session| {
            let state = &session.state;
            let stays = session.endpoint.keeps_connections() || !state.is_settled(now);
            !state.refused.get() && stays && !state.is_over(now, idle)
        });
        self.leaving.borrow_mut().retain(|session| !session.state.is_settled(now));
    }
}

impl State {
    /// Whether the endpoint owes nothing any more, as far as one can know: it has answered since it was last asked, or had
    /// time enough to.
    fn is_settled(&self, now: Instant) -> bool {
        let heard = self.heard.get();
        match self.answered.get() {
            Some(answered) if answered >= heard => now - answered > SWEEP,
            _ => now - heard > LAST_ANSWER,
        }
    }

    fn is_over(&self, now: Instant, idle: Option<Duration>) -> bool {
        now - self.last() > idle.unwrap_or(if self.is_conversation() { TALKING } else { QUIET })
    }

    /// When somebody last said something.
    fn last(&self) -> Instant {
        self.answered.get().map_or(self.heard.get(), |answered| answered.max(self.heard.get()))
    }

    fn is_conversation(&self) -> bool {
        self.answered.get().is_some_and(|answered| answered - self.began > CONVERSATION)
    }

    /// Who is worth less makes room first.
    fn worth(&self) -> (bool, Instant) {
        (self.is_conversation(), self.last())
    }
}

fn add(to: &Cell<u64>, length: usize) {
    to.set(to.get() + length as u64);
}

async fn connect(address: SocketAddr) -> io::Result<UdpSocket> {
    let any: IpAddr = if address.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(address).await?;
    Ok(socket)
}

/// Of descriptors, buffers or ports: another session holds what is missing.
fn is_shortage(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let short = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::ADDRINUSE];
    error.raw_os_error().is_some_and(|number| short.iter().any(|one| one.raw_os_error() == number))
}

/// The endpoint's side of one session.
struct Answers {
    context: Rc<Context>,
    backend: Arc<Backend>,
    endpoint: Arc<Endpoint>,
    upstream: Rc<UdpSocket>,
    state: Rc<State>,
}

async fn send_back(answers: Answers, socket: Rc<UdpSocket>, client: SocketAddr) {
    let Answers { context, backend, endpoint, upstream, state } = answers;
    loop {
        // An ICMP error is no datagram; it wakes us by a readiness of its own, which nothing else takes away.
        let Ok(ready) = upstream.ready(Interest::READABLE | Interest::ERROR).await else { return };
        if ready.is_error() {
            if upstream.take_error().is_ok_and(|error| error.is_some()) {
                note_refusal(&context, &backend, &endpoint);
                return state.refused.set(true);
            }
            let _ = upstream.try_io(Interest::ERROR, || Err::<(), _>(io::ErrorKind::WouldBlock.into()));
            if !ready.is_readable() {
                continue;
            }
        }
        if !PIECE.with_borrow_mut(|piece| carry_answers(&upstream, &socket, client, &state, piece)) {
            note_refusal(&context, &backend, &endpoint);
            return state.refused.set(true);
        }
        endpoint.connects.succeeded();
        tokio::task::yield_now().await;
    }
}

thread_local! {
    /// All sessions of a thread answer by this buffer, one after the other.
    static PIECE: RefCell<Vec<u8>> = RefCell::new(vec![0; LARGEST_BYTES]);
}

/// Passes on what the endpoint has sent. False: its port is closed.
fn carry_answers(
    upstream: &UdpSocket,
    socket: &UdpSocket,
    client: SocketAddr,
    state: &State,
    piece: &mut [u8],
) -> bool {
    for _ in 0..BURST {
        match upstream.try_recv(piece) {
            Ok(length) => {
                state.answered.set(Some(Instant::now()));
                add(&state.bytes.1, length);
                // A full buffer drops it, as UDP does.
                let _ = socket2::SockRef::from(socket).send_to(&piece[..length], &client.into());
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return true,
            Err(_) => return false,
        }
    }
    true
}

fn note_refusal(context: &Context, backend: &Backend, endpoint: &Arc<Endpoint>) {
    endpoint.connects.failed(&io::ErrorKind::ConnectionRefused.into());
    backend.shared.note(endpoint, Outcome::ConnectFailure, context.now_nanos());
}
