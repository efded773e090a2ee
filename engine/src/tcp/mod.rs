//! TCP at layer 4: one connection of a client to one endpoint.
//!
//! Promises: a connect that fails is tried on another endpoint; half-close and backpressure are passed on; the connection
//! counts as in flight at its endpoint until it ends.

pub mod passthrough;
pub mod peek;
pub mod proxy_header;
pub mod proxy_out;
pub mod splice;

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::task::Poll;

use smallvec::SmallVec;
use tokio::net::TcpStream;

use crate::balance::Ask;
use crate::balance::outlier::Outcome;
use crate::http::buffer::Buffer;
use crate::http::link::{Connection, Link};
use crate::http::relay;
use crate::http::serve::Whence;
use crate::table::backend::Backend;
use crate::table::endpoint::InFlight;
use crate::table::template;
use crate::tcp::proxy_out::Ends;
use crate::worker::context::{self, Context};
use crate::worker::deadline::Deadline;

const DEFAULT_CONNECT_SECONDS: f64 = 5.0;
const DEFAULT_ATTEMPTS: u32 = 4;

pub async fn serve(context: Rc<Context>, client: TcpStream, whence: Whence) {
    let Some(listener) = context.listener(&whence.socket) else { return };
    let at = whence.destination.and_then(|d| context.at(d));
    let meant = at.as_ref().and_then(|entry| entry.backends.first()).and_then(|(backend, _)| backend.as_ref());
    let Some(backend) = meant.or(listener.backend.as_ref()) else { return refuse(&client) };
    let deadline = context.deadlines.register();
    carry_to(&context, client, backend, whence.peer, &deadline).await;
}

/// Carries a connection to an endpoint of the Backend.
pub async fn carry_to(
    context: &Rc<Context>,
    mut client: TcpStream,
    backend: &Backend,
    peer: SocketAddr,
    deadline: &Deadline,
) {
    let _counted = context::Client::new(context);
    let ends = client.local_addr().ok().map(|local| (peer, local));
    let Some((mut connection, _in_flight)) = reach(context, backend, peer, ends, deadline).await else {
        return refuse(&client);
    };
    let idle_seconds = idle_seconds(backend);
    if let Link::Plain(backend) = &connection.link {
        let _ = splice::both_ways(context, &client, backend, deadline, idle_seconds).await;
        return;
    }
    let mut nothing = Buffer::default();
    relay::both_ways(context, &mut client, &mut nothing, &mut connection.link, deadline, idle_seconds).await;
}

fn idle_seconds(backend: &Backend) -> f64 {
    backend.spec.timeouts.as_ref().map_or(0.0, |t| t.idle_seconds)
}

/// A connection to an endpoint of the Backend, counted there; `None`: no endpoint could be connected to.
async fn reach(
    context: &Rc<Context>,
    backend: &Backend,
    peer: SocketAddr,
    ends: Ends,
    deadline: &Deadline,
) -> Option<(Connection, InFlight)> {
    let connect_seconds = backend.spec.timeouts.as_ref().map_or(DEFAULT_CONNECT_SECONDS, |t| t.connect_seconds);
    let attempts = backend.spec.retry.as_ref().map_or(DEFAULT_ATTEMPTS, |r| r.attempts.max(1));
    let peer = peer.ip().to_canonical();
    let hash = if backend.algorithm.hashes() { template::hash_client(peer) } else { 0 };
    let mut avoid: SmallVec<[u64; 4]> = SmallVec::new();
    for _ in 0..attempts {
        let ask = Ask {
            now_nanos: context.now_nanos(),
            avoid: &avoid,
            hash,
            random: context.draw(),
            identity: None,
            client: backend.client_timeout_nanos().map(|timeout| (peer, timeout)),
            panic_threshold: backend.spec.panic_threshold,
        };
        let Some((endpoint, in_flight)) = backend.shared.choose(&ask) else { break };
        match connect(deadline, connect_seconds, Connection::open(endpoint.clone(), backend, context, ends)).await {
            Ok(connection) => {
                if backend.spec.outlier.is_some() {
                    backend.shared.note(&endpoint, Outcome::Good, context.now_nanos());
                }
                return Some((connection, in_flight));
            }
            Err(_) => {
                endpoint.connect_failures.add(1);
                backend.shared.note(&endpoint, Outcome::ConnectFailure, context.now_nanos());
                backend.shared.retries.add(1);
                avoid.push(endpoint.id);
            }
        }
    }
    backend.shared.no_endpoint.add(1);
    None
}

async fn connect(
    deadline: &Deadline,
    seconds: f64,
    opening: impl Future<Output = io::Result<Connection>>,
) -> io::Result<Connection> {
    deadline.set(seconds);
    let mut opening = std::pin::pin!(opening);
    std::future::poll_fn(|task| match opening.as_mut().poll(task) {
        Poll::Pending if deadline.passed(task) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
        polled => polled,
    })
    .await
}

/// Closes with a reset: the client sees at once that nothing is there.
pub fn refuse(client: &TcpStream) {
    let _ = socket2::SockRef::from(client).set_linger(Some(std::time::Duration::ZERO));
}
