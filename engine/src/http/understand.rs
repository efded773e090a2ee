//! From the bytes of a request's head to what is to be done with it; one synchronous step.

use std::net::IpAddr;
use std::sync::Arc;

use super::field;
use super::forward::{self, Edits, Origin};
use super::pages::{self, Page};
use super::permission::{self, Question};
use super::request::{self, Framing, Refused};
use super::response::Asked;
use super::rewrite;
use super::rules::{self, Still, Verdict};
use super::sticky::Session;
use crate::balance::{Algorithm, Ask, random};
use crate::control::objects;
use crate::stats::access_log::Record;
use crate::table::Listener;
use crate::table::backend::Backend;
use crate::table::limiter::Taken;
use crate::table::router::{Entry, Request};
use crate::table::template::{self, Subject};
use crate::tls::peer::Peer;
use crate::worker::clock;
use crate::worker::context::Context;

/// A request that is forwarded.
pub struct Plan {
    pub asked: Asked,
    pub framing: Framing,
    pub idempotent: bool,
    /// Its upgrade is one to a WebSocket.
    pub websocket: bool,
    /// Its answer may begin late, as calls' and streams' do.
    pub patient: bool,
    pub max_body_bytes: u64,
    pub entry: Arc<Entry>,
    pub backend: Arc<Backend>,
    /// What the hashing algorithms hash.
    pub hash: u64,
    /// What the affinity's cookie says.
    pub session: Option<Session>,
    pub client: IpAddr,
    /// The client came over TLS, as far as we know.
    pub secure: bool,
    /// Lines that the response gets.
    pub lines: Vec<u8>,
    /// Lines that it gets where it is no error; always with `always`.
    pub cookies: Vec<u8>,
    pub question: Option<Box<Question>>,
    pub page: Option<Box<Page>>,
    pub record: Option<Box<Record>>,
    /// Which mirrors get a copy, and under which target.
    pub mirrors: Vec<(usize, Vec<u8>)>,
    /// The limits that count this request while it is in flight.
    _taken: Vec<Taken>,
}

impl Plan {
    /// The circumstances of a choice for this request.
    pub fn ask<'a>(&self, context: &Context, avoid: &'a [u64]) -> Ask<'a> {
        Ask {
            now_nanos: context.now_nanos(),
            avoid,
            hash: self.hash,
            random: context.draw(),
            identity: match self.session {
                Some(Session::Endpoint(identity)) => Some(identity),
                _ => None,
            },
            client: self.backend.client_timeout_nanos().map(|timeout| (self.client, timeout)),
            panic_threshold: self.backend.spec.panic_threshold,
        }
    }

    /// The service that was asked lets it in, and sets these cookies.
    pub fn admit(&mut self, cookies: Vec<u8>) {
        let always = self.entry.route.rules.external.as_ref().is_some_and(|e| e.spec.always_set_cookie);
        if always { self.lines.extend_from_slice(&cookies) } else { self.cookies = cookies }
    }

    pub fn retry(&self) -> Option<&objects::Retry> {
        self.entry.route.spec.retry.as_ref().or(self.backend.spec.retry.as_ref())
    }

    pub fn timeouts(&self) -> Option<&objects::Timeouts> {
        self.entry.route.spec.timeouts.as_ref().or(self.backend.spec.timeouts.as_ref())
    }
}

/// An answer of our own.
pub struct Own {
    pub status: u16,
    pub reason: String,
    pub content_type: Option<String>,
    pub asked: Asked,
    pub framing: Framing,
    pub entry: Option<Arc<Entry>>,
    /// More fields, as whole lines.
    pub lines: Vec<u8>,
    pub question: Option<Box<Question>>,
    pub page: Option<Box<Page>>,
    pub record: Option<Box<Record>>,
}

pub enum Step {
    /// The head is not whole yet.
    More,
    /// The head has that many bytes; what goes to the backend is in the output.
    Forward(usize, Plan),
    Answer(usize, Own),
    Refuse(Refused),
}

pub struct Surroundings<'a> {
    pub listener: &'a Listener,
    /// What the connection's original destination stands for, on a transparent Listener.
    pub at: Option<&'a Arc<Entry>>,
    pub client: IpAddr,
    pub address: &'a str,
    pub scheme: &'static str,
    pub version: &'static str,
    /// The port that the client came to.
    pub port: u16,
    /// Differs from connection to connection.
    pub seed: u64,
    pub peer: &'a Peer,
}

pub fn understand(input: &[u8], around: &Surroundings<'_>, output: &mut Vec<u8>) -> Step {
    let mut record = None;
    let mut step = decide(input, around, output, &mut record);
    match &mut step {
        Step::Forward(_, plan) => plan.record = record,
        Step::Answer(_, own) => own.record = record,
        // What is refused is written without it.
        Step::More | Step::Refuse(_) => record.into_iter().for_each(|record| record.forget()),
    }
    step
}

fn decide(input: &[u8], around: &Surroundings<'_>, output: &mut Vec<u8>, record: &mut Option<Box<Record>>) -> Step {
    let settings = &around.listener.http;
    let mut storage = request::storage();
    let head = match request::parse(input, &mut storage, settings) {
        Ok(Some(head)) => head,
        Ok(None) => return Step::More,
        Err(refused) => return Step::Refuse(refused),
    };
    let asked =
        Asked { head_method: head.method == "HEAD", http10: head.http10, close: head.close, upgrade: head.upgrade };
    let own = |status, reason: &str, entry| {
        let reason = reason.to_owned();
        Step::Answer(
            head.bytes,
            Own {
                status,
                reason,
                content_type: None,
                asked,
                framing: head.framing,
                entry,
                lines: Vec::new(),
                question: None,
                page: None,
                record: None,
            },
        )
    };
    let believed = around.listener.trust.believes(around.client);
    let client = if believed { around.listener.trust.client(&head, around.client) } else { around.client };
    let wholly = believed && !settings.address_only;
    let scheme = if wholly { claimed_scheme(&head).unwrap_or(around.scheme) } else { around.scheme };
    if let Some(log) = &around.listener.log {
        *record = log.begin(&head, client, scheme, around);
    }
    let found = if around.listener.spec.transparent { around.at } else { around.listener.router.find(&head) };
    let Some(entry) = found else {
        return own(404, "no Route fits this host and path", None);
    };
    if let Some(record) = record {
        record.route.clone_from(&entry.route.spec.id);
    }
    let max_body_bytes = match entry.route.spec.max_body_bytes {
        0 => settings.max_body_bytes,
        own => own,
    };
    if max_body_bytes > 0 && matches!(head.framing, Framing::Length(n) if n > max_body_bytes) {
        return Step::Refuse(Refused { status: 413, reason: "the body is too large" });
    }
    let subject = Subject { request: &head, scheme, client };
    let named = (believed && settings.address_only).then(|| client.to_string());
    let origin = Origin {
        address: named.as_deref().unwrap_or(around.address),
        client,
        scheme: around.scheme,
        believed: wholly,
        port: around.port,
        tell: &settings.tell,
        draw: if settings.tell.is_empty() { 0 } else { random::mix(clock::now_nanos() ^ around.seed) },
    };
    let mut lines = Vec::new();
    let mut taken = Vec::new();
    let mut target = None;
    let mut question = None;
    let mut certificate = None;
    if !entry.route.rules.plain {
        let mut still = Still::Nothing;
        certificate = entry.route.rules.certificate.as_ref().map(|rule| rule.judge(around.peer));
        let verdict = rules::apply(&entry.route, &subject, certificate.as_deref(), &mut lines, &mut taken, &mut still);
        if !matches!(still, Still::Nothing) {
            let router = &around.listener.router;
            question = Some(Box::new(permission::question(input, &head, &subject, &origin, entry, router, still)));
        }
        match verdict {
            Verdict::Pass => target = rewrite::target(&entry.route, &head),
            Verdict::Answer { status, body, content_type } => {
                let page = pages::prepare(&head, &origin, entry).filter(|_| pages::replaces(entry, status));
                let (reason, entry, framing) = (body, Some(entry.clone()), head.framing);
                // Who was sent to another connection shall make one.
                let asked = Asked { close: asked.close || status == 421, ..asked };
                let own =
                    Own { status, reason, content_type, asked, framing, entry, lines, question, page, record: None };
                return Step::Answer(head.bytes, own);
            }
        }
    }
    let page = pages::prepare(&head, &origin, entry);
    let kept = if entry.backends.len() > 1 { keeping(entry, &head) } else { None };
    let Some(backend) = kept.or_else(|| pick_backend(entry)) else {
        let (reason, framing) = ("the Route has no Backend that may be used".to_owned(), head.framing);
        let (entry, content_type) = (Some(entry.clone()), None);
        let own = Own { status: 503, reason, content_type, asked, framing, entry, lines, question, page, record: None };
        return Step::Answer(head.bytes, own);
    };
    let own = (entry.route.spec.request_headers.as_ref(), backend.spec.request_headers.as_ref());
    let changes = field::changes(own.0, own.1);
    let rewrite = entry.route.spec.rewrite.as_ref();
    let edits = Edits {
        target: target.as_deref(),
        host: rewrite.map(|r| r.host.as_str()).filter(|h| !h.is_empty()),
        changes: changes.as_deref(),
        drop: &entry.route.rules.not_forwarded,
        lines: certificate.as_ref().map_or(b"", |v| &v.lines),
        ..Edits::default()
    };
    forward::write_head(input, &head, &origin, edits, output);
    let session = session_of(&head, backend);
    let plan = Plan {
        asked,
        framing: head.framing,
        idempotent: head.idempotent(),
        websocket: head.upgrade && head.values("upgrade").any(|v| v.eq_ignore_ascii_case(b"websocket")),
        patient: begins_late(&head),
        max_body_bytes,
        entry: entry.clone(),
        backend: backend.clone(),
        hash: match backend.algorithm {
            _ if backend.balanced() => match session {
                Some(Session::Key { key, .. }) => key,
                _ => random::mix(clock::now_nanos() ^ around.seed),
            },
            Algorithm::IpHash => template::hash_client(client),
            algorithm if algorithm.hashes() => backend.hash_on.hash(&subject),
            _ => 0,
        },
        session,
        client,
        secure: scheme == "https",
        lines,
        cookies: Vec::new(),
        question,
        page,
        record: None,
        mirrors: if entry.mirrors.is_empty() { Vec::new() } else { rules::mirrors(&entry.route, &subject) },
        _taken: taken,
    };
    Step::Forward(head.bytes, plan)
}

/// gRPC has deadlines of its own, and says nothing before its first message; nor do many servers before their first event.
fn begins_late(head: &request::Head<'_>) -> bool {
    let says = |name, start: &[u8]| head.values(name).any(|value: &[u8]| value.starts_with(start));
    match head.framing {
        Framing::Empty => says("accept", b"text/event-stream"),
        _ => says("content-type", b"application/grpc"),
    }
}

/// The scheme that a trusted proxy was asked by.
fn claimed_scheme(head: &request::Head<'_>) -> Option<&'static str> {
    match head.values("x-forwarded-proto").next()? {
        b"https" => Some("https"),
        b"http" => Some("http"),
        _ => None,
    }
}

/// What the client's cookie says, in the form that the Backend has.
fn session_of(head: &request::Head<'_>, backend: &Backend) -> Option<Session> {
    let session = Session::parse(head.cookie(backend.cookie()?)?)?;
    Some(session).filter(|s| matches!(s, Session::Key { .. }) == backend.balanced())
}

/// The Backend of a split that the client's cookie already names an endpoint of.
fn keeping<'a>(entry: &'a Entry, head: &request::Head<'_>) -> Option<&'a Arc<Backend>> {
    let usable = entry.backends.iter().filter_map(|(backend, weight)| backend.as_ref().filter(|_| *weight > 0));
    let mut sticky = usable.filter(|b| b.spec.affinity.as_ref().is_some_and(|a| a.sticky_split));
    sticky.find(|backend| session_of(head, backend).is_some_and(|session| backend.has(session)))
}

/// The weighted Backends in turn: exact shares over `total_weight` requests, well spread within them.
pub fn pick_backend(entry: &Entry) -> Option<&Arc<Backend>> {
    if let Some(fallback) = &entry.fallback
        && entry.backends.iter().all(|(b, weight)| *weight == 0 || b.as_ref().is_none_or(|b| b.shared.is_empty()))
    {
        return Some(fallback);
    }
    if let [(backend, weight)] = &entry.backends[..] {
        return backend.as_ref().filter(|_| *weight > 0);
    }
    let total = entry.total_weight;
    if total == 0 {
        return None;
    }
    let turn = entry.turn.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let mut at = ((u128::from(turn) * u128::from(entry.stride)) % u128::from(total)) as u64;
    for (backend, weight) in &entry.backends {
        match at.checked_sub(u64::from(*weight)) {
            Some(rest) => at = rest,
            None => return backend.as_ref(),
        }
    }
    None
}
