//! TCP at layer 4: one connection of a client to one endpoint.
//!
//! Promises: a connect that fails is tried on another endpoint; half-close and backpressure are passed on; the connection
//! counts as in flight at its endpoint until it ends. An empty Backend with `hold` keeps it until an endpoint comes, so long
//! and so many at most; what the client says meanwhile waits in its socket.

pub mod keepalive;
pub mod passthrough;
pub mod peek;
pub mod proxy_header;
pub mod proxy_out;
pub mod splice;

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;

use smallvec::SmallVec;
use tokio::io::Interest;
use tokio::net::TcpStream;

use crate::balance::outlier::Outcome;
use crate::http::buffer::Buffer;
use crate::http::link::{Connection, Link};
use crate::http::relay;
use crate::http::serve::Whence;
use crate::stats::session_log::Record;
use crate::table::backend::Backend;
use crate::table::endpoint::{Endpoint, InFlight};
use crate::table::waiting;
use crate::worker::context::{self, Context};
use crate::worker::deadline::Deadline;

const DEFAULT_CONNECT_SECONDS: f64 = 5.0;
const DEFAULT_ATTEMPTS: u32 = 4;

pub fn serve(context: Rc<Context>, client: TcpStream, whence: Whence) -> impl Future<Output = ()> {
    let backend = find(&context, &whence);
    let arrived = Arrived::new(&context, whence, "tcp");
    carry_to(context, client, backend, arrived)
}

/// What is known of a client's connection.
pub struct Arrived {
    pub peer: SocketAddr,
    pub client: context::Client,
    pub deadline: Deadline,
    pub record: Option<Box<Record>>,
}

impl Arrived {
    pub fn new(context: &Rc<Context>, whence: Whence, protocol: &'static str) -> Self {
        let listener = context.listener(&whence.socket);
        let log = listener.as_ref().and_then(|l| l.log.as_ref());
        let record = log.and_then(|_| Record::begin(log, protocol, whence.peer, context.draw()));
        Self { peer: whence.peer, client: whence.client, deadline: context.deadlines.register(), record }
    }
}

fn find(context: &Context, whence: &Whence) -> Option<Arc<Backend>> {
    let listener = context.listener(&whence.socket)?;
    let at = whence.destination.and_then(|d| context.at(d));
    let meant = at.as_ref().and_then(|entry| entry.backends.first()).and_then(|(backend, _)| backend.clone());
    meant.or_else(|| listener.backend.clone())
}

/// Carries a connection to an endpoint of the Backend; without one, or when none can be reached, it is reset.
pub fn carry_to(
    context: Rc<Context>,
    mut client: TcpStream,
    backend: Option<Arc<Backend>>,
    mut arrived: Arrived,
) -> impl Future<Output = ()> {
    let mut carried = match backend {
        Some(backend) => Some(Carried::new(context, backend, arrived)),
        None => {
            arrived.record.iter_mut().for_each(|record| record.reason = "no Backend is meant");
            None
        }
    };
    async move {
        match &mut carried {
            Some(carried) => carried.carry(&mut client).await,
            None => refuse(&client),
        }
    }
}

/// A client's connection and where it may go.
struct Carried {
    context: Rc<Context>,
    _client: context::Client,
    backend: Arc<Backend>,
    peer: SocketAddr,
    deadline: Deadline,
    avoid: SmallVec<[u64; 2]>,
    record: Option<Box<Record>>,
}

impl Carried {
    fn new(context: Rc<Context>, backend: Arc<Backend>, arrived: Arrived) -> Self {
        let Arrived { peer, client, deadline, mut record } = arrived;
        record.iter_mut().for_each(|record| record.backend.clone_from(&backend.spec.id));
        let avoid = SmallVec::new();
        Self { _client: client, context, backend, peer, deadline, avoid, record }
    }

    fn note(&mut self, note: impl FnOnce(&mut Record)) {
        if let Some(record) = &mut self.record {
            note(record);
        }
    }

    fn idle_seconds(&self) -> f64 {
        self.backend.spec.timeouts.as_ref().map_or(0.0, |t| t.idle())
    }

    /// A connection to an endpoint of the Backend, counted there; `None`: no endpoint could be connected to.
    /// `local`: where the client came to, for Backends that want to know.
    async fn reach(&mut self, client: &TcpStream, local: Option<SocketAddr>) -> Option<(Connection, InFlight)> {
        let timeouts = self.backend.spec.timeouts.as_ref();
        let connect_seconds = timeouts.map_or(DEFAULT_CONNECT_SECONDS, |t| t.connect_seconds);
        let attempts = self.backend.spec.retry.as_ref().map_or(DEFAULT_ATTEMPTS, |r| r.attempts.max(1));
        for _ in 0..attempts {
            let chosen = match self.choose() {
                None if self.backend.spec.hold => Box::pin(self.hold(client)).await,
                chosen => chosen,
            };
            let Some((endpoint, in_flight)) = chosen else { break };
            self.deadline.set(connect_seconds);
            self.note(|record| (record.endpoint, record.attempts) = (Some(endpoint.address), record.attempts + 1));
            match self.open(&endpoint, local).await {
                Ok(connection) => {
                    if self.backend.spec.outlier.is_some() {
                        self.backend.shared.note(&endpoint, Outcome::Good, self.context.now_nanos());
                    }
                    endpoint.connects.succeeded();
                    endpoint.carried.add(1);
                    return Some((connection, in_flight));
                }
                Err(error) => self.failed(&endpoint, &error),
            }
        }
        self.backend.shared.no_endpoint.add(1);
        self.note(|record| record.reason = "no endpoint could be connected to");
        None
    }

    /// Waits for the first endpoint of an empty Backend.
    async fn hold(&self, client: &TcpStream) -> Option<(Arc<Endpoint>, InFlight)> {
        let backend = &self.backend;
        let (waiter, _) = backend.shared.waiting.join(backend.most_waiting())?;
        self.deadline.set(waiting::HOLD_SECONDS);
        let mut gone = std::pin::pin!(client.ready(Interest::ERROR));
        loop {
            let mut turn = std::pin::pin!(waiter.turn());
            turn.as_mut().enable();
            if let Some(chosen) = self.choose() {
                return Some(chosen);
            }
            if !backend.shared.is_empty() {
                return None;
            }
            backend.shared.demand(backend.shared.waiting.now());
            let goes_on = std::future::poll_fn(|task| match turn.as_mut().poll(task) {
                Poll::Pending if self.deadline.passed(task) || gone.as_mut().poll(task).is_ready() => {
                    Poll::Ready(false)
                }
                polled => polled.map(|()| true),
            });
            if !goes_on.await {
                return None;
            }
        }
    }

    async fn open(&self, endpoint: &Arc<Endpoint>, local: Option<SocketAddr>) -> io::Result<Connection> {
        let ends = local.map(|local| (self.peer, local));
        let opening = std::pin::pin!(Connection::open(endpoint.clone(), &self.backend, &self.context, ends));
        self.deadline.bound(opening).await
    }

    fn choose(&self) -> Option<(Arc<Endpoint>, InFlight)> {
        let peer = self.peer.ip().to_canonical();
        self.backend.shared.choose(&self.context.ask(&self.backend, peer, &self.avoid))
    }

    fn failed(&mut self, endpoint: &Arc<Endpoint>, error: &io::Error) {
        endpoint.connects.failed(error);
        self.backend.shared.note(endpoint, Outcome::ConnectFailure, self.context.now_nanos());
        self.backend.shared.retries.add(1);
        self.avoid.push(endpoint.id);
    }

    async fn carry(&mut self, client: &mut TcpStream) {
        let local = if self.backend.spec.proxy_protocol > 0 { client.local_addr().ok() } else { None };
        let Some((mut connection, _in_flight)) = self.reach(client, local).await else { return refuse(client) };
        let (fresh, idle_seconds) = (connection.fresh, self.idle_seconds());
        if let Link::Plain(backend) = &mut connection.link {
            let bytes = splice::both_ways(&self.context, client, backend, fresh, &self.deadline, idle_seconds).await;
            return self.note(|record| record.bytes = bytes);
        }
        connection.keep_alive();
        let (mut nothing, link) = (Buffer::default(), &mut connection.link);
        let carrying = relay::both_ways(&self.context, client, &mut nothing, link, &self.deadline, idle_seconds);
        let bytes = Box::pin(carrying).await;
        self.note(|record| record.bytes = bytes);
    }
}

/// Closes with a reset: the client sees at once that nothing is there.
pub fn refuse(client: &TcpStream) {
    let _ = socket2::SockRef::from(client).set_linger(Some(std::time::Duration::ZERO));
}
