//! A client connection's life: read a head, decide, exchange or answer, again.
//!
//! Promises: holds no buffer while it is idle; a head must be whole within the Listener's limit of time; what is refused is
//! answered and the connection closed, so that nothing of it is ever read as a request; the worker's end closes connections
//! after a response that says so.

mod answering;
mod asking;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;

use tokio::io::ReadBuf;

pub use self::answering::{PATIENT, Prepared};
use super::Client;
use super::buffer::Buffer;
use super::exchange::{self, Outcome};
use super::request::Refused;
use super::understand::{self, Own, Plan, Step, Surroundings};
use crate::table::Listener;
use crate::table::router::Entry;
use crate::tcp::proxy_out::Ends;
use crate::tls::peer::Peer;
use crate::worker::age::Age;
use crate::worker::context::{self, Closing, Context};
use crate::worker::deadline::Deadline;

pub struct Session<C> {
    pub context: Rc<Context>,
    pub io: C,
    pub input: Buffer,
    pub deadline: Deadline,
    pub listener: Arc<Listener>,
    socket: Rc<str>,
    generation: u64,
    /// On a transparent Listener, `local` is where the client meant to go; `at`: what is there.
    transparent: bool,
    at: Option<Arc<Entry>>,
    address: Box<str>,
    pub scheme: &'static str,
    peer: SocketAddr,
    local: Option<SocketAddr>,
    seed: u64,
    identity: Peer,
    age: Age,
    client: context::Client,
}

/// Where a connection came from, and where to.
#[derive(Clone)]
pub struct Whence {
    pub socket: Rc<str>,
    pub peer: SocketAddr,
    /// The address that it was accepted at.
    pub local: Option<SocketAddr>,
    /// On a transparent Listener: the address that the client connected to.
    pub destination: Option<SocketAddr>,
    /// What its handshake has shown.
    pub peer_identity: Peer,
    pub client: context::Client,
}

/// Serves a connection accepted on a socket until it ends.
///
/// Not an `async fn`: those keep what they are called with beside what they make of it, for as long as they run. An idle
/// connection is little more than its `Session`, which tests::memory holds it to.
pub fn serve<C: Client>(
    context: Rc<Context>,
    io: C,
    whence: Whence,
    scheme: &'static str,
) -> impl Future<Output = ()> + use<C> {
    let mut session = Session::new(context, io, whence, scheme);
    async move {
        if let Some(session) = &mut session {
            session.run().await;
            session.context.buffers.give(std::mem::take(&mut session.input));
        }
    }
}

/// What comes of a head, small enough to be held while it is done.
enum Task<'s, C> {
    Exchange(Box<exchange::Exchange<'s, C>>),
    /// Whoever must be asked lets it in, or not.
    Forward(Box<(Plan, Vec<u8>)>),
    Answer(Box<Prepared>),
    Close,
}

/// Whether more can be said of a head than when it was `looked_at` bytes long: only a line's end, or too many bytes, make a
/// difference. A head that comes byte by byte would be read anew with each of them.
fn may_be_whole(head: &[u8], looked_at: usize, most_bytes: usize) -> bool {
    looked_at == 0 || head.len() >= most_bytes || memchr::memchr(b'\n', &head[looked_at..]).is_some()
}

fn client(peer: SocketAddr) -> IpAddr {
    peer.ip().to_canonical()
}

impl<C: Client> Session<C> {
    /// In whose name a connection to a Backend is opened.
    pub fn ends(&self, client: IpAddr) -> Ends {
        self.local.map(|local| (SocketAddr::new(client, self.peer.port()), local))
    }

    fn new(context: Rc<Context>, io: C, whence: Whence, scheme: &'static str) -> Option<Self> {
        let Whence { socket, peer, local, destination, peer_identity, client: counted } = whence;
        let listener = context.listener(&socket)?;
        Some(Self {
            io,
            input: Buffer::default(),
            deadline: context.deadlines.register(),
            age: Age::begin(listener.http.max_connection_age_seconds, || (context.now_nanos(), context.draw())),
            listener,
            socket,
            generation: context.generation(),
            at: destination.and_then(|d| context.at(d)),
            transparent: destination.is_some(),
            address: client(peer).to_string().into(),
            scheme,
            peer,
            local,
            seed: context.draw(),
            identity: peer_identity,
            client: counted,
            context,
        })
    }

    async fn run(&mut self) {
        loop {
            let mut output = Vec::new();
            let step = self.next(&mut output).await;
            let outcome = match self.begin(step, output) {
                Task::Exchange(exchange) => exchange.run().await,
                Task::Answer(prepared) => match *prepared {
                    Prepared::Ready(mut written) => self.send(&mut written).await,
                    Prepared::Asking(own, output) => Box::pin(self.answer(*own, output)).await,
                },
                Task::Forward(asking) => {
                    let (plan, output) = *asking;
                    Box::pin(self.forward(plan, output)).await
                }
                Task::Close => return,
            };
            if outcome == Outcome::Close {
                return;
            }
        }
    }

    fn begin(&mut self, step: io::Result<Step>, output: Vec<u8>) -> Task<'_, C> {
        match step {
            Ok(Step::Forward(bytes, mut plan)) => {
                plan.asked.close |= self.age.is_over(|| self.context.now_nanos());
                self.input.consume(bytes);
                if plan.question.is_some() {
                    return Task::Forward(Box::new((plan, output)));
                }
                Task::Exchange(exchange::Exchange::new(self, plan, output))
            }
            Ok(Step::Answer(bytes, own)) => {
                self.input.consume(bytes);
                Task::Answer(Box::new(self.prepare(own, output)))
            }
            Ok(Step::Refuse(refused)) => Task::Answer(Box::new(Prepared::Ready(self.refuse(refused, output)))),
            Ok(Step::More) | Err(_) => Task::Close,
        }
    }

    /// Reads until a head is understood.
    async fn next(&mut self, output: &mut Vec<u8>) -> io::Result<Step> {
        self.deadline.set(if self.input.is_empty() {
            self.listener.http.idle_timeout_seconds
        } else {
            self.listener.http.request_header_timeout_seconds
        });
        let mut idle = self.input.is_empty();
        let mut looked_at = 0;
        loop {
            if !self.input.is_empty() {
                if output.capacity() == 0 {
                    *output = self.context.buffers.take_output(); // only now: an idle connection holds none
                }
                self.refresh();
                let around = Surroundings {
                    listener: &self.listener,
                    at: self.at.as_ref(),
                    client: client(self.peer),
                    address: &self.address,
                    scheme: self.scheme,
                    version: self.io.version(),
                    port: self.local.map_or(0, |l| l.port()),
                    seed: self.seed,
                    peer: &self.identity,
                };
                if may_be_whole(self.input.filled(), looked_at, self.listener.http.max_header_bytes) {
                    match understand::understand(self.input.filled(), &around, output) {
                        Step::More => output.clear(),
                        step => return Ok(step),
                    }
                }
                looked_at = self.input.filled().len();
            }
            match self.fill().await {
                Ok(0) => return Ok(Step::More),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::TimedOut && !self.input.is_empty() => {
                    return Ok(Step::Refuse(Refused { status: 408, reason: "the request's head took too long" }));
                }
                Err(error) => return Err(error),
            }
            if idle {
                idle = false;
                self.deadline.set(self.listener.http.request_header_timeout_seconds);
            }
        }
    }

    /// Whether its client is to go, as the worker or the door that it came by has ended.
    pub fn is_leaving(&self) -> bool {
        self.client.closing() != Closing::No
    }

    /// Whether this connection ends with the response: its client is to go, or it is old.
    fn is_last(&self) -> bool {
        self.is_leaving() || self.age.is_over(|| self.context.now_nanos())
    }

    /// Works by the newest table.
    fn refresh(&mut self) {
        if self.generation != self.context.generation() {
            self.generation = self.context.generation();
            if let Some(listener) = self.context.listener(&self.socket) {
                self.listener = listener;
            }
            self.at = self.local.filter(|_| self.transparent).and_then(|d| self.context.at(d));
        }
    }

    /// Reads once into the input; the buffer is there only when there is something to hold.
    async fn fill(&mut self) -> io::Result<usize> {
        let Self { io, input, context, deadline, client, .. } = self;
        std::future::poll_fn(|task| {
            if !input.has_storage() {
                *input = context.buffers.take();
            }
            if input.spare().is_empty() {
                input.grow();
            }
            let mut space = ReadBuf::new(input.spare());
            match Pin::new(&mut *io).poll_read(task, &mut space) {
                Poll::Ready(Ok(())) => {
                    let n = space.filled().len();
                    input.added(n);
                    Poll::Ready(Ok(n))
                }
                Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
                Poll::Pending => {
                    let idle = input.is_empty();
                    if idle {
                        context.buffers.give(std::mem::take(input));
                    }
                    if deadline.passed(task) || (idle && client.closing() == Closing::Now) {
                        return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
                    }
                    Poll::Pending
                }
            }
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::may_be_whole;

    #[test]
    fn a_head_that_comes_in_crumbs_is_looked_at_once_a_line() {
        let head = b"GET / HTTP/1.1\r\nHost: a.test\r\nX-Long: aaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n\r\n";
        let looks = (1..=head.len()).filter(|n| may_be_whole(&head[..*n], n - 1, 1000)).count();
        assert_eq!(looks, 5, "the first byte, and four lines' ends");
        assert!(may_be_whole(&[b'a'; 64], 63, 64), "too many bytes are one answer, too");
    }
}
