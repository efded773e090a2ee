//! A Route's rules for one request: who may come, how often, and answers that need no Backend.

use super::{cors, rewrite};
use crate::balance::random;
use crate::table::basic::{Basic, Check};
use crate::table::limiter::Taken;
use crate::table::route::Route;
use crate::table::rules::Credentials;
use crate::table::template::Subject;
use crate::tls::peer;
use crate::worker::clock;

pub const CREDENTIALS_NEEDED: &str = "a name and a password are needed";

/// What is still to be found out before the request may come in.
pub enum Still {
    Nothing,
    /// Another service must be asked.
    Ask,
    /// A slow hash must be computed.
    Verify(Check),
}

pub enum Verdict {
    Pass,
    Answer {
        status: u16,
        body: String,
        /// `None`: the body is a sentence of ours.
        content_type: Option<String>,
    },
}

/// Networks first, then limits, the client's certificate, preflights and redirects, then credentials, then what the Route says itself. `lines` are
/// fields for the response, whoever gives it. `still`: what only somebody else can tell.
pub fn apply(
    route: &Route,
    subject: &Subject<'_>,
    certificate: Option<&peer::Verdict>,
    lines: &mut Vec<u8>,
    taken: &mut Vec<Taken>,
    still: &mut Still,
) -> Verdict {
    let answer = |status, body: &str| Verdict::Answer { status, body: body.to_owned(), content_type: None };
    if !route.rules.admits(subject.client) {
        return answer(403, "this client may not come in");
    }
    for limit in &route.rules.limits {
        if limit.exempt.iter().any(|n| n.contains(subject.client)) {
            continue;
        }
        match limit.limiter.take(limit.key.hash(subject), limit.allowed, clock::now_nanos()) {
            Some(one) => taken.push(one),
            None => return answer(limit.status, "too many requests"),
        }
    }
    if let Some((status, reason)) = certificate.and_then(|verdict| verdict.denied) {
        let page = route.rules.certificate.as_ref().map(|rule| rule.error_page.render(subject)).unwrap_or_default();
        if status == 400 && !page.is_empty() {
            lines.extend_from_slice(&[b"Location: ", &page[..], b"\r\n"].concat());
            return answer(302, "");
        }
        return answer(status, reason);
    }
    if let Some(policy) = &route.spec.cors {
        let preflight = cors::is_preflight(subject.request);
        if let Some(fields) = cors::fields(policy, subject.request, preflight) {
            lines.extend_from_slice(&fields);
        }
        if preflight {
            return Verdict::Answer { status: 204, body: String::new(), content_type: Some(String::new()) };
        }
    }
    if let Some(redirect) = &route.spec.redirect {
        lines.extend_from_slice(b"Location: ");
        lines.extend_from_slice(&rewrite::location(redirect, route, subject));
        lines.extend_from_slice(b"\r\n");
        return Verdict::Answer { status: redirect.status, body: String::new(), content_type: Some(String::new()) };
    }
    let authorization = subject.request.header("authorization");
    match route.rules.credentials(subject.client, authorization, clock::now_nanos()) {
        Credentials::Enough => {}
        Credentials::Ask => *still = Still::Ask,
        Credentials::Verify(check) => *still = Still::Verify(check),
        Credentials::Lacking(basic) => {
            lines.extend_from_slice(&challenge(basic));
            return answer(401, CREDENTIALS_NEEDED);
        }
    }
    if let Some(respond) = &route.spec.respond {
        let content_type = Some(respond.content_type.clone());
        return Verdict::Answer { status: respond.status, body: respond.body.clone(), content_type };
    }
    Verdict::Pass
}

pub fn challenge(basic: &Basic) -> Vec<u8> {
    format!("WWW-Authenticate: Basic realm=\"{}\"\r\n", basic.realm).into_bytes()
}

/// Which mirrors get a copy of this request, and the copy's target.
pub fn mirrors(route: &Route, subject: &Subject<'_>) -> Vec<(usize, Vec<u8>)> {
    let drawn = |i: usize| (random::mix(clock::now_nanos() ^ i as u64) % 10_000) as f64 / 100.0;
    let chosen = route.rules.mirrors.iter().enumerate().filter(|(i, m)| drawn(*i) < m.spec.percent);
    chosen.map(|(i, m)| (i, m.uri.render(subject))).collect()
}
