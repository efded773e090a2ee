//! One request with its backend: choose, connect or reuse, send, answer; again on another endpoint where that is safe.
//!
//! Promises: a request is tried again only while nothing of a response has reached the client and nothing of the request
//! is lost: after a failed connect always, later only when its method is idempotent. The endpoint's count falls, and its
//! connection is free for others, before the response's last byte is written. A response that breaks off breaks off for
//! the client, too.

mod failing;
mod leaving;
mod moving;
mod pass;
mod reach;

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as Task, Poll};

use smallvec::SmallVec;
use tokio::io::{AsyncRead, ReadBuf};

use super::Client;
use super::buffer::Buffer;
use super::chunked::Chunked;
use super::field;
use super::link::{Connection, Link};
use super::mirror;
use super::pages;
use super::relay;
use super::request::{self, Framing, Refused};
use super::response::{self, Edits};
use super::serve::{PATIENT, Prepared, Session};
use super::sticky;
use super::understand::{Own, Plan};
use super::upload::{self, Upload};
use crate::balance::Candidate;
use crate::balance::outlier;
use crate::table::endpoint::{Endpoint, InFlight};
use crate::tcp::splice;

const DEFAULT_RETRIES: u32 = 2;
const DEFAULT_BUDGET_PERCENT: f64 = 20.0;
const DEFAULT_BUFFER_BYTES: usize = 65536;
const DEFAULT_CONNECT_SECONDS: f64 = 5.0;
/// How many requests a Backend holds, and how long they may wait, unless it says otherwise.
const MAX_RESPONSE_HEAD_BYTES: usize = 256 << 10;
/// A backend that says 100, 102 or 103 more often than this does not answer.
const MAX_INTERIM_RESPONSES: u32 = 32;
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
    /// The Route has a page for it.
    Replaced(u16),
    BadResponse,
    Timeout,
    NoEndpoint,
    /// The client's body is malformed or too large.
    Refused(Refused),
    /// The client went away, or the response broke off.
    Over,
}

/// Boxed as a whole, so that an idle connection has none of it; it fits the allocator's small sizes.
pub struct Exchange<'s, C> {
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
    tries: u32,
    started: u64,
    /// When this try's endpoint was chosen.
    tried: u64,
    response_started: bool,
    /// The final response's status, and how much of its body was passed on.
    status: u16,
    bytes: u64,
    keep: bool,
    /// The client will send no more, and may have gone.
    client_left: bool,
}

impl<'s, C: Client> Exchange<'s, C> {
    pub fn new(session: &'s mut Session<C>, plan: Plan, head: Vec<u8>) -> Box<Self> {
        let retry = plan.retry();
        let keep_bytes = retry.map_or(DEFAULT_BUFFER_BYTES, |r| r.buffer_bytes);
        let retries_left = retry.map_or(DEFAULT_RETRIES, |r| r.attempts.saturating_sub(1));
        plan.backend.shared.budget.earn(retry.map_or(DEFAULT_BUDGET_PERCENT, |r| r.budget_percent));
        let mut upload = Upload::new(head, plan.framing, keep_bytes, plan.max_body_bytes);
        if plan.backend.speaks_h2() && session.io.ends_apart() {
            upload.end_apart();
        }
        Box::new(Self {
            started: session.context.now_nanos(),
            upload,
            session,
            plan,
            upload_broken: false,
            backend: None,
            in_flight: None,
            endpoint: None,
            answer: Buffer::default(),
            avoid: SmallVec::new(),
            retries_left,
            tries: 0,
            tried: 0,
            response_started: false,
            status: 0,
            bytes: 0,
            keep: true,
            client_left: false,
        })
    }

    pub async fn run(mut self: Box<Self>) -> Outcome {
        let outcome = self.carry().await;
        self.log("", false);
        if !self.plan.mirrors.is_empty() {
            self.mirror();
        }
        let buffers = &self.session.context.buffers;
        buffers.give(std::mem::take(&mut self.answer));
        buffers.give_output(self.upload.take_storage());
        outcome
    }

    async fn carry(&mut self) -> Outcome {
        if let Err(failure) = self.upload.take_in(&mut self.session.input) {
            return Box::pin(self.fail(refusal(failure))).await;
        }
        loop {
            let failure = match self.attempt().await {
                Ok(outcome) => return outcome,
                Err(failure) => failure,
            };
            self.backend = None;
            self.in_flight = None;
            if let Some(outcome) = Box::pin(self.recover(failure)).await {
                return outcome;
            }
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

    async fn attempt(&mut self) -> Result<Outcome, Failure> {
        self.tries += 1;
        self.reach().await?;
        self.arm_for_response();
        let mut output = self.session.context.buffers.take_output();
        let done = self.receive(&mut output).await;
        self.session.context.buffers.give_output(output);
        done
    }

    /// Sends the request and passes the response on.
    async fn receive(&mut self, output: &mut Vec<u8>) -> Result<Outcome, Failure> {
        self.answer = match std::mem::take(&mut self.answer) {
            buffer if buffer.has_storage() => buffer,
            _ => self.session.context.buffers.take(),
        };
        let stale = self.backend.as_ref().is_some_and(|b| b.reused);
        let mut interim = 0;
        loop {
            let before = self.answer.filled().len();
            match self.fill_answer().await {
                Ok(0) | Err(Fill::Backend) if before == 0 => {
                    let unsent = self.backend.as_ref().is_some_and(Connection::unsent);
                    return Err(if unsent { Failure::Connect } else { Failure::NoResponse { stale } });
                }
                Ok(0) | Err(Fill::Backend) => return Err(Failure::BadResponse),
                Ok(_) => {}
                Err(Fill::Timeout) if self.upload.waits_for_client() => {
                    let reason = "the request's body took too long";
                    return Err(Failure::Refused(Refused { status: 408, reason }));
                }
                Err(fill) => return Err(fill.failure()),
            }
            while let Some(head) = self.translate(output)? {
                self.answer.consume(head.bytes);
                if self.plan.asked.upgrade && !self.session.io.takes_switch(head.status, output) {
                    return Err(Failure::BadResponse);
                }
                if head.status == 101 && self.plan.asked.upgrade {
                    self.measure();
                    return self.tunnel(output).await;
                }
                if head.status < 200 {
                    interim += 1;
                    if interim > MAX_INTERIM_RESPONSES {
                        return Err(Failure::BadResponse);
                    }
                    if !self.plan.asked.http10 {
                        self.response_started = true;
                        self.write(output).await?;
                        self.arm_for_response();
                    }
                    output.clear();
                    continue;
                }
                if self.unwanted(head.status) {
                    return Err(Failure::Unwanted(head.status));
                }
                if self.plan.page.is_some() && pages::replaces(&self.plan.entry, head.status) {
                    self.plan.lines.extend_from_slice(&pages::kept(output));
                    return Err(Failure::Replaced(head.status));
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
        asked.close |= self.session.is_leaving() || !self.upload.read_whole();
        let mut storage = request::storage();
        let mut lines = self.plan.lines.clone();
        self.write_cookie(&mut lines);
        let (route, backend) = (&self.plan.entry.route.spec, &self.plan.backend.spec);
        let changes = field::changes(route.response_headers.as_ref(), backend.response_headers.as_ref());
        let edits = Edits { changes: changes.as_deref(), lines: &lines, cookies: &self.plan.cookies };
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
        let Some(affinity) = &self.plan.backend.spec.affinity else { return };
        if let Some(session) = self.new_session(affinity.change_on_failure, endpoint) {
            sticky::write(affinity, name, &session.value(), self.plan.secure, line);
        }
    }

    /// What the client is told to come back with; `None`: what it has.
    fn new_session(&self, change_on_failure: bool, endpoint: &Arc<Endpoint>) -> Option<sticky::Session> {
        use sticky::Session;
        let backend = &self.plan.backend;
        if !backend.balanced() {
            let own = Session::Endpoint(endpoint.identity());
            let kept = self.plan.session.is_some_and(|s| s == own || (!change_on_failure && backend.has(s)));
            return Some(own).filter(|_| !kept);
        }
        let of_key = |key| Session::Key { key, backend: sticky::backend_hash(&backend.spec.id) };
        if change_on_failure && !self.avoid.is_empty() {
            return self.session.context.key_of(endpoint.id, &backend.shared).map(of_key);
        }
        Some(of_key(self.plan.hash)).filter(|own| self.plan.session != Some(*own))
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
        upload::Failure::Client | upload::Failure::Backend => Failure::Over,
        upload::Failure::Malformed => {
            Failure::Refused(Refused { status: 400, reason: "the chunked body is malformed" })
        }
        upload::Failure::TooLarge => Failure::Refused(Refused { status: 413, reason: "the body is too large" }),
    }
}
