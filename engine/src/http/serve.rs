//! A client connection's life: read a head, decide, exchange or answer, again.
//!
//! Promises: holds no buffer while it is idle; a head must be whole within the Listener's limit of time; what is refused is
//! answered and the connection closed, so that nothing of it is ever read as a request; the worker's end closes connections
//! after a response that says so.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;

use tokio::io::{AsyncWriteExt, ReadBuf};

use super::Client;
use super::answer::Answer;
use super::buffer::Buffer;
use super::exchange::{self, Outcome};
use super::request::{Framing, Refused};
use super::response::Asked;
use super::understand::{self, Own, Plan, Step, Surroundings};
use super::{pages, permission};
use crate::stats::access_log::End;
use crate::table::Listener;
use crate::table::router::Entry;
use crate::tcp::proxy_out::Ends;
use crate::tls::peer::Peer;
use crate::worker::age::Age;
use crate::worker::context::{self, Closing, Context};
use crate::worker::deadline::Deadline;

/// After an answer that leaves a request unread, the client may send this much more before it is cut off.
const LINGER_BYTES: usize = 256 << 10;
const LINGER_SECONDS: f64 = 1.0;

pub struct Session<C> {
    pub context: Rc<Context>,
    pub io: C,
    pub input: Buffer,
    pub deadline: Deadline,
    pub listener: Arc<Listener>,
    socket: Rc<str>,
    generation: u64,
    /// Where the client meant to go, on a transparent Listener, and what is there.
    destination: Option<SocketAddr>,
    at: Option<Arc<Entry>>,
    client: IpAddr,
    address: String,
    pub scheme: &'static str,
    peer: SocketAddr,
    local: Option<SocketAddr>,
    seed: u64,
    identity: Peer,
    age: Age,
    _counted: context::Client,
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
}

/// Serves a connection accepted on `socket` until it ends.
pub async fn serve<C: Client>(context: Rc<Context>, io: C, whence: Whence, scheme: &'static str) {
    let Whence { socket, peer, local, destination, peer_identity } = whence;
    let Some(listener) = context.listener(&socket) else { return };
    let age_seconds = listener.http.max_connection_age_seconds;
    let mut session = Session {
        io,
        input: Buffer::default(),
        deadline: context.deadlines.register(),
        listener,
        socket,
        generation: context.generation(),
        at: destination.and_then(|d| context.at(d)),
        destination,
        client: peer.ip().to_canonical(),
        address: peer.ip().to_canonical().to_string(),
        scheme,
        peer,
        local,
        seed: context.draw(),
        identity: peer_identity,
        age: Age::begin(age_seconds, || (context.now_nanos(), context.draw())),
        _counted: context::Client::new(&context),
        context,
    };
    session.run().await;
    let input = std::mem::take(&mut session.input);
    session.context.buffers.give(input);
}

impl<C: Client> Session<C> {
    /// In whose name a connection to a Backend is opened.
    pub fn ends(&self, client: IpAddr) -> Ends {
        self.local.map(|local| (SocketAddr::new(client, self.peer.port()), local))
    }

    async fn run(&mut self) {
        loop {
            let mut output = Vec::new();
            let go_on = match self.next(&mut output).await {
                Ok(Step::Forward(bytes, mut plan)) => {
                    plan.asked.close |= self.age.is_over(|| self.context.now_nanos());
                    self.input.consume(bytes);
                    self.forward(plan, output).await
                }
                Ok(Step::Answer(bytes, own)) => {
                    self.input.consume(bytes);
                    self.answer_asking(own, output).await
                }
                Ok(Step::Refuse(refused)) => self.refuse(refused, output).await,
                Ok(Step::More) | Err(_) => Outcome::Close,
            };
            if go_on == Outcome::Close {
                return;
            }
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
        loop {
            if !self.input.is_empty() {
                if output.capacity() == 0 {
                    *output = self.context.buffers.take_output(); // only now: an idle connection holds none
                }
                self.refresh();
                let around = Surroundings {
                    listener: &self.listener,
                    at: self.at.as_ref(),
                    client: self.client,
                    address: &self.address,
                    scheme: self.scheme,
                    port: self.local.map_or(0, |l| l.port()),
                    seed: self.seed,
                    peer: &self.identity,
                };
                match understand::understand(self.input.filled(), &around, output) {
                    Step::More => output.clear(),
                    step => return Ok(step),
                }
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

    /// Whether this connection ends with the response: the worker does, or it is old.
    fn is_last(&self) -> bool {
        self.context.closing.get() != Closing::No || self.age.is_over(|| self.context.now_nanos())
    }

    /// Works by the newest table.
    fn refresh(&mut self) {
        if self.generation != self.context.generation() {
            self.generation = self.context.generation();
            if let Some(listener) = self.context.listener(&self.socket) {
                self.listener = listener;
            }
            self.at = self.destination.and_then(|d| self.context.at(d));
        }
    }

    /// Reads once into the input; the buffer is there only when there is something to hold.
    async fn fill(&mut self) -> io::Result<usize> {
        let Self { io, input, context, deadline, .. } = self;
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
                    if deadline.passed(task) || (idle && context.closing.get() == Closing::Now) {
                        return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
                    }
                    Poll::Pending
                }
            }
        })
        .await
    }

    /// Forwards the request, once whoever must be asked lets it in.
    async fn forward(&mut self, mut plan: Plan, mut output: Vec<u8>) -> Outcome {
        if let Some(question) = plan.question.take() {
            match permission::ask(&self.context, &question).await {
                permission::Answer::Granted { request, cookies } => {
                    let end = output.len() - 2;
                    output.splice(end..end, request);
                    plan.admit(cookies);
                }
                permission::Answer::Denied { status, reason, lines } => {
                    let page = plan.page.take();
                    let lines = [std::mem::take(&mut plan.lines), lines].concat();
                    let (asked, framing, entry) = (plan.asked, plan.framing, Some(plan.entry.clone()));
                    let (reason, content_type) = (reason.to_owned(), None);
                    let own = Own {
                        status,
                        reason,
                        content_type,
                        asked,
                        framing,
                        entry,
                        lines,
                        question: None,
                        page,
                        record: plan.record.take(),
                    };
                    return self.answer(own, output).await;
                }
            }
        }
        exchange::run(self, plan, output).await
    }

    async fn answer_asking(&mut self, mut own: Own, output: Vec<u8>) -> Outcome {
        if let Some(question) = own.question.take()
            && let permission::Answer::Denied { status, reason, lines } =
                permission::ask(&self.context, &question).await
        {
            own.lines.extend_from_slice(&lines);
            (own.status, own.reason, own.content_type) = (status, reason.to_owned(), None);
        }
        self.answer(own, output).await
    }

    /// Gives our own answer; the connection lives on when the request's body is here already.
    pub async fn answer(&mut self, mut own: Own, mut output: Vec<u8>) -> Outcome {
        output.clear();
        let page = match &own.page {
            Some(page) if own.entry.as_ref().is_some_and(|e| pages::replaces(e, own.status)) => {
                pages::fetch(&self.context, page, own.status).await
            }
            _ => None,
        };
        let skip = match own.framing {
            Framing::Empty => Some(0),
            Framing::Length(n) => usize::try_from(n).ok().filter(|n| *n <= self.input.filled().len()),
            Framing::Chunked | Framing::UntilClose => None,
        };
        let close = own.asked.close || skip.is_none() || self.is_last();
        let reason = if own.content_type.is_none() { own.reason.clone() } else { String::new() };
        let mut body = own.reason.into_bytes();
        if let Some(page) = page {
            own.status = page.status;
            own.content_type = Some(String::new());
            for (name, value) in &page.fields {
                [name.as_bytes(), b": ", value, b"\r\n"].iter().for_each(|part| own.lines.extend_from_slice(part));
            }
            body = page.body;
        } else if own.content_type.is_none() {
            body.push(b'\n');
        }
        Answer {
            status: own.status,
            body: &body,
            content_type: own.content_type.as_deref().unwrap_or("text/plain; charset=utf-8"),
            close,
            head_method: own.asked.head_method,
            keep_alive10: own.asked.http10 && !close,
            lines: &own.lines,
        }
        .write(&mut output);
        self.listener.counters.codes.count(own.status);
        if let Some(entry) = &own.entry {
            entry.route.counters.codes.count(own.status);
        }
        self.deadline.set(self.listener.http.idle_timeout_seconds);
        let written = self.write(&output).await;
        self.context.buffers.give_output(output);
        if let Some(record) = own.record {
            record.write(&End {
                status: own.status,
                bytes: if own.asked.head_method { 0 } else { body.len() as u64 },
                route: own.entry.as_ref().map_or("", |e| &e.route.spec.id),
                version: self.io.version(),
                reason: &reason,
                whole: written.is_ok(),
            });
        }
        if written.is_err() {
            return Outcome::Close;
        }
        self.input.consume(skip.unwrap_or(0));
        if close {
            self.linger(skip.is_none()).await;
            return Outcome::Close;
        }
        Outcome::KeepAlive
    }

    pub async fn refuse(&mut self, refused: Refused, output: Vec<u8>) -> Outcome {
        self.listener.counters.bad_requests.add(1);
        if let Some(log) = &self.listener.log {
            log.refused(self.client, refused.status, refused.reason, self.seed);
        }
        let asked = Asked { head_method: false, http10: false, close: true, upgrade: false };
        let own = Own {
            status: refused.status,
            reason: refused.reason.to_owned(),
            content_type: None,
            asked,
            framing: Framing::Chunked, // whatever follows is not read as a request
            entry: None,
            lines: Vec::new(),
            question: None,
            page: None,
            record: None,
        };
        self.answer(own, output).await
    }

    async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let Self { io, deadline, .. } = self;
        let mut sent = 0;
        std::future::poll_fn(|task| {
            while sent < bytes.len() {
                match Pin::new(&mut *io).poll_write(task, &bytes[sent..]) {
                    Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                    Poll::Ready(Ok(n)) => sent += n,
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                    Poll::Pending if deadline.passed(task) => {
                        return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
                    }
                    Poll::Pending => return Poll::Pending,
                }
            }
            Pin::new(&mut *io).poll_flush(task)
        })
        .await
    }

    /// Closes our side; `unread`: goes on reading for a while, so that a reset does not destroy the answer.
    pub async fn linger(&mut self, unread: bool) {
        if self.io.shutdown().await.is_err() || !unread {
            return;
        }
        self.deadline.set(LINGER_SECONDS);
        let mut left = LINGER_BYTES;
        while left > 0 {
            let n = self.input.filled().len();
            self.input.consume(n);
            match self.fill().await {
                Ok(n) if n > 0 => left = left.saturating_sub(n),
                _ => return,
            }
        }
    }
}
