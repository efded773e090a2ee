//! May the request come in? Asked of the service that its Route names (nginx' auth_request, Envoy's ext_authz over HTTP), after
//! a password whose hash is slow has been looked at (verify.rs).
//!
//! Promises: 2xx lets it pass, 401 and 403 are answered (a 401 may lead to a sign-in page), everything else, and every
//! failure, is a 500: never an open door. A Listener that is asked itself must have a Route for it that guards nothing more.

use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;

use super::ask::{self, Reply};
use super::forward::{self, Edits, Origin};
use super::path;
use super::request::Head;
use super::rewrite;
use super::rules::{self as http_rules, Still};
use super::understand;
use super::verify::{self, Found};
use crate::table::backend::Backend;
use crate::table::basic::Check;
use crate::table::external::External;
use crate::table::router::{Entry, Request, Router};
use crate::table::rules::Credentials;
use crate::table::template::Subject;
use crate::worker::context::Context;

/// What the service says besides its status is not looked at.
const MAX_BODY_BYTES: usize = 64 << 10;

pub struct Question {
    entry: Arc<Entry>,
    client: IpAddr,
    check: Option<Check>,
    external: Option<Asking>,
}

/// What the service that the Route names would be asked.
struct Asking {
    backend: Option<Arc<Backend>>,
    request: Vec<u8>,
    signin: Vec<u8>,
    key: Option<Vec<u8>>,
}

pub enum Answer {
    /// Lines for the Backend's request, and for the response.
    Granted {
        request: Vec<u8>,
        cookies: Vec<u8>,
    },
    Denied {
        status: u16,
        reason: &'static str,
        lines: Vec<u8>,
    },
}

impl Answer {
    const GRANTED: Self = Self::Granted { request: Vec::new(), cookies: Vec::new() };
}

/// Everything that is known while the request's head is there.
pub fn question(
    input: &[u8],
    head: &Head<'_>,
    subject: &Subject<'_>,
    origin: &Origin<'_>,
    entry: &Arc<Entry>,
    router: &Router,
    still: Still,
) -> Question {
    let check = if let Still::Verify(check) = still { Some(check) } else { None };
    let rule = entry.route.rules.external.as_ref();
    let external = rule.map(|rule| asking(input, head, subject, origin, rule, entry.asked.as_ref(), router));
    Question { entry: entry.clone(), client: origin.client, check, external }
}

fn asking(
    input: &[u8],
    head: &Head<'_>,
    subject: &Subject<'_>,
    origin: &Origin<'_>,
    rule: &External,
    asked: Option<&Arc<Backend>>,
    router: &Router,
) -> Asking {
    let uri = rule.uri.render(subject);
    let own = if rule.spec.backend.is_empty() { Own::find(router, head, &uri, origin.client) } else { None };
    let (target, backend) = match &own {
        Some(own) => (own.target.clone(), own.backend.clone()),
        None => (uri, asked.cloned()),
    };
    let mut lines = Vec::new();
    let mut put = |parts: &[&[u8]]| parts.iter().for_each(|part| lines.extend_from_slice(part));
    let redirect = rule.redirect.render(subject);
    put(&[b"X-Original-URL: ", subject.scheme.as_bytes(), b"://", head.authority, head.target, b"\r\n"]);
    put(&[b"X-Original-URI: ", head.target, b"\r\nX-Original-Method: ", head.method.as_bytes(), b"\r\n"]);
    put(&[b"X-Auth-Request-Redirect: ", if redirect.is_empty() { head.target } else { &redirect }, b"\r\n"]);
    let edits = Edits {
        method: Some(if rule.spec.method.is_empty() { head.method } else { &rule.spec.method }),
        target: Some(if target.is_empty() { b"/" } else { &target }),
        host: Some(rule.spec.host.as_str()).filter(|h| !h.is_empty()),
        changes: rule.spec.request_headers.as_ref(),
        drop: &rule.not_asked,
        lines: &lines,
        bare: true,
    };
    let mut request = Vec::with_capacity(head.bytes + 256);
    forward::write_head(input, head, origin, edits, &mut request);
    let key = rule.key(subject);
    Asking { backend, request, signin: rule.signin.render(subject), key }
}

/// The Listener's own answer: which Backend it comes from, and under which target.
struct Own {
    backend: Option<Arc<Backend>>,
    target: Vec<u8>,
}

impl Own {
    fn find(router: &Router, head: &Head<'_>, uri: &[u8], client: IpAddr) -> Option<Self> {
        let raw = uri.split(|b| *b == b'?').next().unwrap_or_default();
        let inner = Inner { head, uri, raw, path: path::normal(raw).ok()?.into_owned() };
        let found = router.find(&inner)?;
        let (spec, rules) = (&found.route.spec, &found.route.rules);
        // A guard within a guard would need its own credentials, or go round in circles.
        let guarded = rules.basic.is_some() || rules.external.is_some() || rules.certificate.is_some();
        if spec.respond.is_some() || spec.redirect.is_some() || guarded || !rules.admits(client) {
            return None;
        }
        let target = rewrite::target(&found.route, &inner).unwrap_or_else(|| uri.to_vec());
        Some(Self { backend: understand::pick_backend(found).cloned(), target })
    }
}

/// The client's request, but for another path of its host.
struct Inner<'a> {
    head: &'a dyn Request,
    uri: &'a [u8],
    raw: &'a [u8],
    path: Vec<u8>,
}

impl Request for Inner<'_> {
    fn host(&self) -> &[u8] {
        self.head.host()
    }
    fn path(&self) -> &[u8] {
        &self.path
    }
    fn query(&self) -> &[u8] {
        self.uri.get(self.raw.len() + 1..).unwrap_or_default()
    }
    fn method(&self) -> &[u8] {
        b"GET"
    }
    fn authority(&self) -> &[u8] {
        self.head.authority()
    }
    fn target(&self) -> &[u8] {
        self.uri
    }
    fn header(&self, name: &str) -> Option<&[u8]> {
        self.head.header(name)
    }
    fn cookie(&self, name: &str) -> Option<&[u8]> {
        self.head.cookie(name)
    }
    fn each_header(&self, name: &str, visit: &mut dyn FnMut(&[u8])) {
        self.head.each_header(name, visit);
    }
    fn any_header(&self, name: &str, fits: &dyn Fn(&[u8]) -> bool) -> bool {
        self.head.any_header(name, fits)
    }
}

pub async fn ask(context: &Rc<Context>, question: &Question) -> Answer {
    let rules = &question.entry.route.rules;
    if let Some(check) = &question.check {
        let right = match verify::verify(context, check, question.client).await {
            Found::Right => true,
            Found::Wrong => false,
            Found::Busy(status) => {
                return Answer::Denied { status, reason: "too many passwords at once", lines: Vec::new() };
            }
        };
        match rules.after(right) {
            Credentials::Lacking(basic) => {
                let (reason, lines) = (http_rules::CREDENTIALS_NEEDED, http_rules::challenge(basic));
                return Answer::Denied { status: 401, reason, lines };
            }
            Credentials::Ask => {}
            Credentials::Enough | Credentials::Verify(_) => return Answer::GRANTED,
        }
    }
    match (&rules.external, &question.external) {
        (Some(rule), Some(asking)) => ask_service(context, rule, asking, question.client).await,
        _ => Answer::GRANTED,
    }
}

async fn ask_service(context: &Rc<Context>, rule: &External, asking: &Asking, client: IpAddr) -> Answer {
    let now = context.now_nanos();
    if let Some(reply) = asking.key.as_ref().and_then(|key| rule.recall(key, now)) {
        return judge(rule, &reply, &asking.signin);
    }
    let failed =
        Answer::Denied { status: 500, reason: "nobody could say whether this request may come in", lines: Vec::new() };
    let Some(backend) = &asking.backend else { return failed };
    let Ok(reply) = ask::ask(context, backend, client, &asking.request, MAX_BODY_BYTES).await else {
        return failed;
    };
    let reply = Arc::new(reply);
    if let Some(key) = &asking.key {
        rule.remember(key.clone(), &reply, now);
    }
    judge(rule, &reply, &asking.signin)
}

fn judge(rule: &External, reply: &Reply, signin: &[u8]) -> Answer {
    let line = |name: &str, out: &mut Vec<u8>| {
        for value in reply.values(name) {
            [name.as_bytes(), b": ", value, b"\r\n"].iter().for_each(|part| out.extend_from_slice(part));
        }
    };
    let mut lines = Vec::new();
    match reply.status {
        200..=299 => {
            let mut request = Vec::new();
            rule.spec.response_headers.iter().for_each(|name| line(name, &mut request));
            line("Set-Cookie", &mut lines);
            Answer::Granted { request, cookies: lines }
        }
        401 if !signin.is_empty() => {
            [&b"Location: "[..], signin, b"\r\n"].iter().for_each(|part| lines.extend_from_slice(part));
            line("Set-Cookie", &mut lines);
            Answer::Denied { status: 302, reason: "", lines }
        }
        status @ (401 | 403) => {
            line("WWW-Authenticate", &mut lines);
            let reason = if status == 401 { "this request needs credentials" } else { "this request may not come in" };
            Answer::Denied { status, reason, lines }
        }
        _ => Answer::Denied { status: 500, reason: "the authentication service failed", lines },
    }
}
