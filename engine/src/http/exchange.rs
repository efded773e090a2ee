//! One request with its backend: choose, connect or reuse, send, answer; again on another endpoint where that is safe.
//!
//! Promises: a request is tried again only while nothing of a response has reached the client and nothing of the request
//! is lost: after a failed connect always, later only when its method is idempotent. The endpoint's count falls, and its
//! connection is free for others, before the response's last byte is written. A response that breaks off breaks off for
//! the client, too.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as Task, Poll};

use smallvec::SmallVec;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::Client;
use super::buffer::Buffer;
use super::chunked::Chunked;
use super::link::{Connection, Link};
use super::mirror;
use super::relay;
use super::request::{self, Framing, Refused};
use super::response::{self, Edits};
use super::serve::Session;
use super::sticky;
use super::understand::{Own, Plan};
use super::upload::{self, Upload};
use crate::balance::Candidate;
use crate::balance::outlier;
use crate::table::endpoint::{Endpoint, InFlight};
use crate::tcp::splice;
use crate::worker::context::Closing;

const DEFAULT_RETRIES: u32 = 2;
const DEFAULT_BUDGET_PERCENT: f64 = 20.0;
const DEFAULT_BUFFER_BYTES: usize = 65536;
const DEFAULT_CONNECT_SECONDS: f64 = 5.0;
/// How many requests a Backend holds, and how long they may wait, unless it says otherwise.
const MOST_HELD: u32 = 1024;
const HOLD_SECONDS: f64 = 60.0;
const MAX_RESPONSE_HEAD_BYTES: usize = 256 << 10;
/// Bodies with more than this left are moved in large pieces.
const LARGE_BODY_BYTES: u64 = 32 << 10;
/// And those with more than this left do not come into this process.
const SPLICE_BYTES: u64 = 256 << 10;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    KeepAlive,
    Close,
}

/// Why a try gave no response, or only the beginning of one.
enum Failure {
    /// Nothing was sent.
    Connect,
    /// The backend closed before its first byte; `stale`: on a connection that had been idle.
    NoResponse {
        stale: bool,
    },
    /// The backend's own answer says that another may do better.
    Unwanted(u16),
    BadResponse,
    Timeout,
    NoEndpoint,
    /// The client's body is malformed or too large.
    Refused(Refused),
    /// The client went away, or the response broke off.
    Over,
}

struct Exchange<'s, C> {
    session: &'s mut Session<C>,
    plan: Plan,
    upload: Upload,
    /// The backend took no more of the request; what it answers still counts.
    upload_broken: bool,
    backend: Option<Connection>,
    in_flight: Option<InFlight>,
    endpoint: Option<Arc<Endpoint>>,
    answer: Buffer,
    avoid: SmallVec<[u64; 4]>,
    retries_left: u32,
    started: u64,
    /// What was in flight at the endpoint when it was chosen, this request left out.
    found_in_flight: u32,
    response_started: bool,
    keep: bool,
}

pub async fn run<C: Client>(session: &mut Session<C>, plan: Plan, head: Vec<u8>) -> Outcome {
    let retry = plan.retry();
    let keep_bytes = retry.map_or(DEFAULT_BUFFER_BYTES, |r| r.buffer_bytes);
    let retries_left = retry.map_or(DEFAULT_RETRIES, |r| r.attempts.saturating_sub(1));
    plan.backend.shared.budget.earn(retry.map_or(DEFAULT_BUDGET_PERCENT, |r| r.budget_percent));
    let upload = Upload::new(head, plan.framing, keep_bytes, plan.max_body_bytes);
    let mut exchange = Exchange {
        started: session.context.now_nanos(),
        session,
        plan,
        upload,
        upload_broken: false,
        backend: None,
        in_flight: None,
        endpoint: None,
        answer: Buffer::default(),
        avoid: SmallVec::new(),
        retries_left,
        found_in_flight: 0,
        response_started: false,
        keep: true,
    };
    let outcome = exchange.run().await;
    if !exchange.plan.mirrors.is_empty() {
        exchange.mirror();
    }
    let Exchange { session, answer, upload, .. } = exchange;
    session.context.buffers.give(answer);
    session.context.buffers.give_output(upload.into_storage());
    outcome
}

impl<C: Client> Exchange<'_, C> {
    async fn run(&mut self) -> Outcome {
        if let Err(failure) = self.upload.take_in(&mut self.session.input) {
            return self.fail(refusal(failure)).await;
        }
        loop {
            let failure = match self.attempt().await {
                Ok(outcome) => return outcome,
                Err(failure) => failure,
            };
            self.backend = None;
            self.in_flight = None;
            if matches!(failure, Failure::NoResponse { stale: false } | Failure::BadResponse | Failure::Timeout) {
                self.note(outlier::Outcome::Error);
            }
            if !self.may_retry(&failure) {
                return self.fail(failure).await;
            }
            self.plan.backend.shared.retries.add(1);
            self.upload.rewind();
            self.upload_broken = false;
            let filled = self.answer.filled().len();
            self.answer.consume(filled);
        }
    }

    /// Sends copies of a request that was kept whole.
    fn mirror(&self) {
        let Some(request) = self.upload.whole() else { return };
        for (index, uri) in &self.plan.mirrors {
            let mirror = &self.plan.entry.route.rules.mirrors[*index];
            if let (Some(backend), Some(copy)) =
                (&self.plan.entry.mirrors[*index], mirror::copy(request, &mirror.spec, uri))
            {
                mirror::send(&self.session.context, backend.clone(), copy);
            }
        }
    }

    /// Decides, and keeps account of tries.
    fn may_retry(&mut self, failure: &Failure) -> bool {
        if self.response_started || !self.upload.can_rewind() {
            return false;
        }
        let on = |word: &str, default: bool| self.plan.retry().map_or(default, |r| r.on.iter().any(|o| o == word));
        let safe = self.plan.idempotent || on("non-idempotent", false);
        let seconds = self.plan.retry().map_or(0.0, |r| r.timeout_seconds);
        let now = self.session.context.now_nanos();
        if seconds > 0.0 && now.saturating_sub(self.started) as f64 / 1e9 > seconds {
            return false;
        }
        match failure {
            // The endpoint did nothing wrong: it closed an idle connection.
            Failure::NoResponse { stale: true } => return safe,
            // It got nothing, so another try costs nobody anything.
            Failure::Connect if on("connect", true) => {}
            _ if !safe || self.retries_left == 0 || !self.plan.backend.shared.budget.spend(now) => return false,
            Failure::NoResponse { .. } if on("reset", true) => {}
            Failure::Timeout if on("timeout", false) => {}
            Failure::Unwanted(_) => {}
            _ => return false,
        }
        if self.retries_left == 0 {
            return false;
        }
        self.retries_left -= 1;
        if let Some(endpoint) = &self.endpoint {
            self.avoid.push(endpoint.id);
        }
        true
    }

    async fn attempt(&mut self) -> Result<Outcome, Failure> {
        self.reach().await?;
        let timeouts = self.plan.timeouts();
        let seconds = timeouts.map_or(0.0, |t| t.backend_request_seconds);
        self.arm(seconds);
        let mut output = self.session.context.buffers.take_output();
        let done = self.receive(&mut output).await;
        self.session.context.buffers.give_output(output);
        done
    }

    /// Chooses an endpoint and gets a connection to it.
    async fn reach(&mut self) -> Result<(), Failure> {
        let context = &self.session.context;
        let ask = self.plan.ask(context, &self.avoid);
        let (endpoint, in_flight) = match self.plan.backend.shared.choose(&ask) {
            Some(chosen) => chosen,
            None => self.wait_for_endpoint().await?,
        };
        self.found_in_flight = endpoint.in_flight_now().saturating_sub(1);
        self.endpoint = Some(endpoint.clone());
        self.in_flight = Some(in_flight);
        if self.plan.backend.speaks_h2()
            && let Some(stream) = context.h2.take(endpoint.id)
        {
            self.backend = Some(Connection::of_stream(stream));
            return Ok(());
        }
        while let Some(connection) = context.pool.take(endpoint.id) {
            if self.plan.idempotent || connection.surely_open() {
                self.backend = Some(connection);
                return Ok(());
            }
        }
        self.session.deadline.set(self.plan.timeouts().map_or(DEFAULT_CONNECT_SECONDS, |t| t.connect_seconds));
        let deadline = &self.session.deadline;
        let mut connect = std::pin::pin!(Connection::open(endpoint.clone(), &self.plan.backend, context));
        let opened = std::future::poll_fn(|task| match connect.as_mut().poll(task) {
            Poll::Pending if deadline.passed(task) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            polled => polled,
        })
        .await;
        match opened {
            Ok(connection) => self.backend = Some(connection),
            Err(_) => {
                endpoint.connect_failures.add(1);
                self.note(outlier::Outcome::ConnectFailure);
                return Err(Failure::Connect);
            }
        }
        Ok(())
    }

    /// An empty Backend that holds requests, or one whose endpoints are full: the request waits for its turn.
    async fn wait_for_endpoint(&self) -> Result<(Arc<Endpoint>, InFlight), Failure> {
        let backend = &self.plan.backend;
        let queue = backend.spec.limits.as_ref().map_or(0, |l| l.max_waiting);
        let most = if backend.spec.hold && queue == 0 { MOST_HELD } else { queue };
        let (waiter, now) = backend.shared.waiting.join(most).ok_or(Failure::NoEndpoint)?;
        self.arm(HOLD_SECONDS);
        let context = &self.session.context;
        loop {
            let mut turn = std::pin::pin!(waiter.turn());
            turn.as_mut().enable();
            if let Some(chosen) = backend.shared.choose(&self.plan.ask(context, &self.avoid)) {
                return Ok(chosen);
            }
            if backend.spec.hold && backend.shared.is_empty() {
                backend.shared.demand(backend.shared.waiting.now().max(now));
            }
            let deadline = &self.session.deadline;
            let may_go = std::future::poll_fn(|task| match turn.as_mut().poll(task) {
                Poll::Pending if deadline.passed(task) => Poll::Ready(false),
                polled => polled.map(|()| true),
            });
            if !may_go.await {
                return Err(Failure::NoEndpoint);
            }
        }
    }

    /// Sends the request and passes the response on.
    async fn receive(&mut self, output: &mut Vec<u8>) -> Result<Outcome, Failure> {
        self.answer = match std::mem::take(&mut self.answer) {
            buffer if buffer.has_storage() => buffer,
            _ => self.session.context.buffers.take(),
        };
        let stale = self.backend.as_ref().is_some_and(|b| b.reused);
        loop {
            let before = self.answer.filled().len();
            match self.fill_answer().await {
                Ok(0) | Err(Fill::Backend) if before == 0 => {
                    let unsent = self.backend.as_ref().is_some_and(Connection::unsent);
                    return Err(if unsent { Failure::Connect } else { Failure::NoResponse { stale } });
                }
                Ok(0) | Err(Fill::Backend) => return Err(Failure::BadResponse),
                Ok(_) => {}
                Err(fill) => return Err(fill.failure()),
            }
            while let Some(head) = self.translate(output)? {
                self.answer.consume(head.bytes);
                if head.status == 101 && self.plan.asked.upgrade {
                    return self.tunnel(output).await;
                }
                if head.status < 200 {
                    if head.status != 101 && !self.plan.asked.http10 {
                        self.response_started = true;
                        self.write(output).await?;
                    }
                    output.clear();
                    continue;
                }
                if self.unwanted(head.status) {
                    return Err(Failure::Unwanted(head.status));
                }
                return self.pass_on(head, output).await;
            }
            if self.answer.filled().len() >= MAX_RESPONSE_HEAD_BYTES {
                return Err(Failure::BadResponse);
            }
            if self.answer.spare().is_empty() {
                self.answer.grow();
            }
        }
    }

    fn translate(&self, output: &mut Vec<u8>) -> Result<Option<response::Head>, Failure> {
        if self.answer.is_empty() {
            return Ok(None);
        }
        let mut asked = self.plan.asked;
        asked.close |= self.session.context.closing.get() != Closing::No || !self.upload.read_whole();
        let mut storage = request::storage();
        let mut lines = self.plan.lines.clone();
        self.write_cookie(&mut lines);
        let edits = Edits { changes: self.plan.entry.route.spec.response_headers.as_ref(), lines: &lines };
        let head = response::translate(self.answer.filled(), &mut storage, asked, edits, output)
            .map_err(|_| Failure::BadResponse)?;
        if head.is_none() {
            output.clear();
        }
        Ok(head)
    }

    /// The affinity's cookie, when it does not name this endpoint yet.
    fn write_cookie(&self, line: &mut Vec<u8>) {
        let (Some(name), Some(endpoint)) = (self.plan.backend.cookie(), &self.endpoint) else { return };
        if self.plan.identity == Some(endpoint.identity()) {
            return;
        }
        if let Some(affinity) = &self.plan.backend.spec.affinity {
            let value = format!("{:016x}", endpoint.identity());
            sticky::write(affinity, name, &value, self.session.scheme == "https", line);
        }
    }

    /// For the ejection of outliers.
    fn note(&self, outcome: outlier::Outcome) {
        let backend = &self.plan.backend;
        if let (Some(_), Some(endpoint)) = (&backend.spec.outlier, &self.endpoint) {
            backend.shared.note(endpoint, outcome, self.session.context.now_nanos());
        }
    }

    fn unwanted(&mut self, status: u16) -> bool {
        self.note(if status >= 500 { outlier::Outcome::Error } else { outlier::Outcome::Good });
        let Some(retry) = self.plan.retry() else { return false };
        let named = retry.on.iter().any(|on| match on.as_str() {
            "5xx" => status >= 500,
            "gateway-error" => (502..=504).contains(&status),
            code => code.parse() == Ok(status),
        });
        let safe = self.plan.idempotent || retry.on.iter().any(|on| on == "non-idempotent");
        named && self.retries_left > 0 && safe && self.upload.can_rewind() && !self.response_started
    }

    /// Passes a final response on: head and the body's beginning in one write.
    async fn pass_on(&mut self, head: response::Head, output: &mut Vec<u8>) -> Result<Outcome, Failure> {
        self.response_started = true;
        let asked = self.plan.asked;
        self.keep = !asked.close && self.session.context.closing.get() == Closing::No;
        self.arm(self.stall_seconds());
        let mut reusable = head.reusable;
        match head.framing {
            Framing::Empty => {
                self.finish(reusable, 0);
                self.write(output).await?;
            }
            Framing::Length(length) => self.pass_length(length, reusable, output).await?,
            Framing::Chunked => {
                let mut decoder = Chunked::default();
                self.keep &= !asked.http10;
                loop {
                    let used =
                        decoder.transfer(self.answer.filled(), output, asked.http10).map_err(|_| Failure::Over)?;
                    self.answer.consume(used);
                    if decoder.done() {
                        self.finish(reusable, 0);
                    }
                    self.write(output).await?;
                    output.clear();
                    if decoder.done() {
                        break;
                    }
                    if self.answer.spare().is_empty() {
                        return Err(Failure::Over);
                    }
                    self.need_more().await?;
                }
            }
            Framing::UntilClose => {
                self.keep = false;
                reusable = false;
                loop {
                    output.extend_from_slice(self.answer.filled());
                    let n = self.answer.filled().len();
                    self.answer.consume(n);
                    self.write(output).await?;
                    output.clear();
                    match self.fill_answer().await {
                        Ok(0) => break,
                        Ok(_) => {}
                        Err(_) => return Err(Failure::Over),
                    }
                }
                self.finish(reusable, 0);
            }
        }
        self.count(head.status);
        self.end().await
    }

    async fn pass_length(&mut self, length: u64, reusable: bool, output: &mut Vec<u8>) -> Result<(), Failure> {
        let here = usize::try_from(length).unwrap_or(usize::MAX).min(self.answer.filled().len());
        output.extend_from_slice(&self.answer.filled()[..here]);
        self.answer.consume(here);
        let mut left = length - here as u64;
        if left == 0 {
            self.finish(reusable, 0);
        } else if left > LARGE_BODY_BYTES && self.answer.is_empty() {
            let buffers = &self.session.context.buffers;
            buffers.give(std::mem::replace(&mut self.answer, buffers.take_large()));
        }
        self.write(output).await?;
        if left > SPLICE_BYTES && self.answer.is_empty() && self.upload.done() {
            left -= self.splice(left - LARGE_BODY_BYTES).await?;
        }
        while left > 0 {
            self.need_more().await?;
            let n = usize::try_from(left).unwrap_or(usize::MAX).min(self.answer.filled().len());
            left -= n as u64;
            if left == 0 {
                self.finish(reusable, n);
            }
            self.write_answer(n).await?;
        }
        Ok(())
    }

    /// Moves that much of the body within the kernel where both sides are plain TCP; returns how much it was.
    async fn splice(&mut self, much: u64) -> Result<u64, Failure> {
        let Some(Connection { link: Link::Plain(backend), .. }) = &self.backend else { return Ok(0) };
        let Some(client) = self.session.io.plain() else { return Ok(0) };
        let (mut pipe, mut left) = (splice::Pipe::default(), much);
        std::future::poll_fn(|task| {
            let mut moved = false;
            let polled = pipe.poll_move(task, backend, client, &mut left, &mut moved);
            if moved {
                self.arm(self.stall_seconds());
            }
            match polled {
                Poll::Ready(Ok(())) if left == 0 => Poll::Ready(Ok(())),
                Poll::Ready(_) => Poll::Ready(Err(Failure::Over)),
                Poll::Pending if self.session.deadline.passed(task) => Poll::Ready(Err(Failure::Over)),
                Poll::Pending => Poll::Pending,
            }
        })
        .await?;
        Ok(much)
    }

    async fn need_more(&mut self) -> Result<(), Failure> {
        match self.fill_answer().await {
            Ok(n) if n > 0 => Ok(()),
            _ => Err(Failure::Over),
        }
    }

    /// The response is read whole: the endpoint is free before the client sees the end.
    /// `unwritten` bytes of the buffer are its own; more than that were not announced.
    fn finish(&mut self, reusable: bool, unwritten: usize) {
        self.in_flight = None;
        if let Some(connection) = self.backend.take()
            && reusable
            && self.upload.done()
            && !self.upload_broken
            && self.answer.filled().len() == unwritten
        {
            self.session.context.pool.give(connection);
        }
    }

    fn count(&self, status: u16) {
        let nanos = self.session.context.now_nanos().saturating_sub(self.started);
        self.session.listener.counters.codes.count(status);
        self.plan.entry.route.counters.codes.count(status);
        self.plan.entry.route.counters.latency.record(nanos);
        if let Some(endpoint) = &self.endpoint {
            endpoint.codes.count(status);
            endpoint.latency.record(nanos);
            if self.plan.backend.algorithm.measures() {
                endpoint.estimate.observe(nanos, self.found_in_flight, self.started + nanos);
            }
        }
    }

    async fn end(&mut self) -> Result<Outcome, Failure> {
        if self.keep && self.upload.read_whole() {
            return Ok(Outcome::KeepAlive);
        }
        let unread = !self.upload.read_whole();
        self.session.linger(unread).await;
        Ok(Outcome::Close)
    }

    async fn tunnel(&mut self, output: &mut Vec<u8>) -> Result<Outcome, Failure> {
        self.response_started = true;
        let n = self.answer.filled().len();
        output.extend_from_slice(self.answer.filled());
        self.answer.consume(n);
        self.write(output).await?;
        self.count(101);
        let Some(mut backend) = self.backend.take() else { return Err(Failure::Over) };
        let idle_seconds = self.plan.timeouts().map_or(0.0, |t| t.idle_seconds);
        let Session { io, input, context, deadline, .. } = &mut *self.session;
        relay::both_ways(context, io, input, &mut backend.link, deadline, idle_seconds).await;
        Ok(Outcome::Close)
    }

    /// The answer for a request that failed.
    async fn fail(&mut self, failure: Failure) -> Outcome {
        if self.response_started {
            return Outcome::Close;
        }
        let (status, reason) = match failure {
            Failure::Over => return Outcome::Close,
            Failure::Refused(refused) => (refused.status, refused.reason),
            Failure::Connect => (502, "no endpoint could be connected to"),
            Failure::NoResponse { .. } => (502, "the endpoint closed without a response"),
            Failure::BadResponse => (502, "the endpoint's response is malformed"),
            Failure::Unwanted(status) => (status, "the endpoint failed"),
            Failure::Timeout => (504, "the endpoint took too long"),
            Failure::NoEndpoint => {
                self.plan.backend.shared.no_endpoint.add(1);
                (503, "the Backend has no endpoint")
            }
        };
        if let Some(endpoint) = &self.endpoint {
            endpoint.codes.count(0);
        }
        let framing = if self.upload.read_whole() { Framing::Empty } else { Framing::Chunked };
        let mut asked = self.plan.asked;
        asked.close |= matches!(failure, Failure::Refused(_));
        let entry = Some(self.plan.entry.clone());
        let own =
            Own { status, reason: reason.to_owned(), content_type: None, asked, framing, entry, lines: Vec::new() };
        let output = self.session.context.buffers.take_output();
        self.session.answer(own, output).await
    }

    /// Sets the deadline: so many seconds, but not beyond the request's own end.
    fn arm(&self, seconds: f64) {
        let total = self.plan.timeouts().map_or(0.0, |t| t.request_seconds);
        let spent = self.session.context.now_nanos().saturating_sub(self.started) as f64 / 1e9;
        let left = if total > 0.0 { (total - spent).max(0.001) } else { 0.0 };
        self.session.deadline.set(match (seconds > 0.0, left > 0.0) {
            (true, true) => seconds.min(left),
            (true, false) => seconds,
            _ => left,
        });
    }

    fn stall_seconds(&self) -> f64 {
        let own = self.plan.timeouts().map_or(0.0, |t| t.idle_seconds);
        if own > 0.0 { own } else { self.session.listener.http.idle_timeout_seconds }
    }

    // Reading and writing, with the request's body moving along meanwhile.

    fn poll_upload(&mut self, task: &mut Task<'_>) -> Result<(), Fill> {
        if self.upload_broken || self.upload.done() {
            return Ok(());
        }
        let Some(backend) = &mut self.backend else { return Ok(()) };
        let Session { io, input, context, .. } = &mut *self.session;
        if !self.upload.read_whole() && !input.has_storage() {
            *input = context.buffers.take();
        }
        match self.upload.poll(task, io, input, &mut backend.link) {
            Poll::Pending | Poll::Ready(Ok(())) => Ok(()),
            Poll::Ready(Err(upload::Failure::Backend(_))) => {
                self.upload_broken = true;
                Ok(())
            }
            Poll::Ready(Err(failure)) => Err(Fill::Client(refusal(failure))),
        }
    }

    async fn fill_answer(&mut self) -> Result<usize, Fill> {
        std::future::poll_fn(|task| {
            self.poll_upload(task)?;
            let Some(backend) = &mut self.backend else { return Poll::Ready(Err(Fill::Backend)) };
            let mut space = ReadBuf::new(self.answer.spare());
            match Pin::new(&mut backend.link).poll_read(task, &mut space) {
                Poll::Ready(Ok(())) => {
                    let n = space.filled().len();
                    self.answer.added(n);
                    Poll::Ready(Ok(n))
                }
                Poll::Ready(Err(_)) => Poll::Ready(Err(Fill::Backend)),
                Poll::Pending if self.session.deadline.passed(task) => Poll::Ready(Err(Fill::Timeout)),
                Poll::Pending => Poll::Pending,
            }
        })
        .await
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        let mut sent = 0;
        std::future::poll_fn(|task| self.poll_write(task, bytes, &mut sent)).await
    }

    async fn write_answer(&mut self, n: usize) -> Result<(), Failure> {
        let mut answer = std::mem::take(&mut self.answer);
        let done = self.write(&answer.filled()[..n]).await;
        answer.consume(n);
        self.answer = answer;
        done
    }

    fn poll_write(&mut self, task: &mut Task<'_>, bytes: &[u8], sent: &mut usize) -> Poll<Result<(), Failure>> {
        if self.poll_upload(task).is_err() {
            return Poll::Ready(Err(Failure::Over));
        }
        while *sent < bytes.len() {
            match Pin::new(&mut self.session.io).poll_write(task, &bytes[*sent..]) {
                Poll::Ready(Ok(n)) if n > 0 => *sent += n,
                Poll::Ready(_) => return Poll::Ready(Err(Failure::Over)),
                Poll::Pending if self.session.deadline.passed(task) => return Poll::Ready(Err(Failure::Over)),
                Poll::Pending => return Poll::Pending,
            }
        }
        Pin::new(&mut self.session.io).poll_flush(task).map_err(|_| Failure::Over)
    }
}

enum Fill {
    Backend,
    Timeout,
    Client(Failure),
}

impl Fill {
    fn failure(self) -> Failure {
        match self {
            Self::Backend => Failure::BadResponse,
            Self::Timeout => Failure::Timeout,
            Self::Client(failure) => failure,
        }
    }
}

fn refusal(failure: upload::Failure) -> Failure {
    match failure {
        upload::Failure::Client | upload::Failure::Backend(_) => Failure::Over,
        upload::Failure::Malformed => {
            Failure::Refused(Refused { status: 400, reason: "the chunked body is malformed" })
        }
        upload::Failure::TooLarge => Failure::Refused(Refused { status: 413, reason: "the body is too large" }),
    }
}
