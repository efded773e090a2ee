//! Error pages: an answer with one of a Route's statuses is replaced by what another Backend says to it.
//!
//! Promises: the page's Backend is asked with GET / and the request's circumstances, as ingress-nginx asks a default backend;
//! its status is the answer's. What says how to come in (WWW-Authenticate) stays, whoever shows the page. Where it cannot be had (no endpoint, over `MAX_BODY_BYTES`, too slow), the error stays as it was.

use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;

use super::ask::{self, Reply};
use super::forward::Origin;
use super::request::Head;
use crate::control::objects::{ErrorPages, Refusal};
use crate::http::field;
use crate::table::backend::Backend;
use crate::table::router::{Entry, Request};
use crate::worker::context::Context;

const MAX_BODY_BYTES: usize = 1 << 20;

pub struct Page {
    backend: Arc<Backend>,
    /// A whole head but for the code.
    request: Vec<u8>,
    client: IpAddr,
}

pub fn check(spec: &ErrorPages) -> Result<(), Refusal> {
    if let Some(i) = spec.statuses.iter().position(|s| !(300..600).contains(s)) {
        return Err(Refusal::new(format!("errors.statuses[{i}]"), "it is no error's status"));
    }
    let sound = |(name, value): &(String, String)| {
        field::is_name(name) && field::is_value(value) && field::kind(name) == field::Kind::Other
    };
    match spec.headers.iter().position(|header| !sound(header)) {
        Some(i) => Err(Refusal::new(format!("errors.headers[{i}]"), "it cannot be set to that")),
        None => Ok(()),
    }
}

/// `None`: the Route replaces nothing.
pub fn prepare(head: &Head<'_>, origin: &Origin<'_>, entry: &Entry) -> Option<Box<Page>> {
    let spec = entry.route.spec.errors.as_ref()?;
    let backend = entry.pages.clone()?;
    let mut request = Vec::with_capacity(512);
    let mut put = |parts: &[&[u8]]| parts.iter().for_each(|part| request.extend_from_slice(part));
    put(&[b"GET / HTTP/1.1\r\nHost: ", head.authority, b"\r\nX-Original-URI: ", head.target, b"\r\n"]);
    put(&[b"X-Format: ", head.header("accept").unwrap_or(b""), b"\r\n"]);
    put(&[b"X-Forwarded-For: ", origin.client.to_string().as_bytes(), b"\r\n"]);
    if let Some(identity) = head.header("x-request-id") {
        put(&[b"X-Request-ID: ", identity, b"\r\n"]);
    }
    spec.headers.iter().for_each(|(name, value)| put(&[name.as_bytes(), b": ", value.as_bytes(), b"\r\n"]));
    Some(Box::new(Page { backend, request, client: origin.client }))
}

/// The lines of a response's head that its page does not replace.
pub fn kept(head: &[u8]) -> Vec<u8> {
    let lines = head.split_inclusive(|b| *b == b'\n').skip(1);
    let names = |line: &&[u8]| {
        line.iter().position(|b| *b == b':').is_some_and(|at| line[..at].eq_ignore_ascii_case(b"www-authenticate"))
    };
    lines.filter(names).flatten().copied().collect()
}

pub fn replaces(entry: &Entry, status: u16) -> bool {
    entry.route.spec.errors.as_ref().is_some_and(|e| e.statuses.contains(&status))
}

pub async fn fetch(context: &Rc<Context>, page: &Page, status: u16) -> Option<Reply> {
    let mut request = page.request.clone();
    request.extend_from_slice(format!("X-Code: {status}\r\n\r\n").as_bytes());
    ask::ask(context, &page.backend, page.client, &request, MAX_BODY_BYTES).await.ok()
}
