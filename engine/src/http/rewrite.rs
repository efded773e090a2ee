//! New targets: a rewritten path for the backend, and the Location of a redirect.
//!
//! Promises: what comes out has no byte that could end a line or a target. Prefixes are replaced as Gateway API says
//! (HTTPPathModifier); a regular expression replaces the whole path as nginx' `rewrite` does.

use super::path;
use crate::control::objects;
use crate::table::route::Route;
use crate::table::router::Request;
use crate::table::template::Subject;

/// The target for the backend; `None`: as it came.
pub fn target(route: &Route, request: &dyn Request) -> Option<Vec<u8>> {
    let rewrite = route.spec.rewrite.as_ref()?;
    if let Some(regex) = &route.rules.rewrite_regex {
        let found = regex.captures(request.path())?;
        return Some(substituted(&rewrite.substitution, &found, request.query()));
    }
    let path = new_path(&rewrite.path, &rewrite.path_prefix, route, request)?;
    Some(with_query(path, request))
}

fn new_path(whole: &str, prefix: &str, route: &Route, request: &dyn Request) -> Option<Vec<u8>> {
    if !whole.is_empty() {
        return Some(clean(whole.bytes()));
    }
    if prefix.is_empty() {
        return None;
    }
    let matched = path::of_route(route.spec.matching.path.as_ref().map_or("/", |p| &p.value));
    let rest = path::rest(request.raw_path(), matched.len() - usize::from(matched.ends_with(b"/")));
    let mut path = clean(prefix.trim_end_matches('/').bytes());
    let slash = rest.starts_with(b"/") || rest.get(..3).is_some_and(|s| s.eq_ignore_ascii_case(b"%2f"));
    if path.is_empty() || !rest.is_empty() && !slash {
        path.push(b'/');
    }
    path.extend_from_slice(if path.ends_with(b"/") { rest.strip_prefix(b"/").unwrap_or(rest) } else { rest });
    Some(path)
}

fn with_query(mut path: Vec<u8>, request: &dyn Request) -> Vec<u8> {
    if !request.query().is_empty() {
        path.push(b'?');
        path.extend_from_slice(request.query());
    }
    path
}

fn substituted(text: &str, found: &regex::bytes::Captures<'_>, query: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut bytes = text.bytes().peekable();
    while let Some(byte) = bytes.next() {
        match (byte, bytes.peek()) {
            (b'$', Some(digit @ b'1'..=b'9')) => {
                let group = usize::from(digit - b'0');
                path::encode(found.get(group).map_or(&b""[..], |m| m.as_bytes()), &mut out);
                bytes.next();
            }
            _ => out.push(byte),
        }
    }
    let mut out = clean(out.into_iter());
    if out.first() != Some(&b'/') {
        out.insert(0, b'/');
    }
    if !query.is_empty() {
        out.push(if out.contains(&b'?') { b'&' } else { b'?' });
        out.extend_from_slice(query);
    }
    out
}

fn clean(bytes: impl Iterator<Item = u8>) -> Vec<u8> {
    bytes.filter(|b| (0x21..0x7f).contains(b)).collect()
}

/// Where a redirect leads.
pub fn location(redirect: &objects::Redirect, route: &Route, subject: &Subject<'_>) -> Vec<u8> {
    if !route.rules.location.is_empty() {
        return route.rules.location.render(subject);
    }
    let request = subject.request;
    let scheme = if redirect.scheme.is_empty() { subject.scheme } else { redirect.scheme.as_str() };
    let mut out = format!("{scheme}://").into_bytes();
    if redirect.host.is_empty() {
        out.extend_from_slice(crate::http::field::split_port(request.authority()).0);
    } else {
        out.extend(clean(redirect.host.bytes()));
    }
    let known = |port: &[u8]| matches!((scheme, port), ("http", b"80") | ("https", b"443"));
    let own_port = crate::http::field::split_port(request.authority()).1.filter(|_| redirect.scheme.is_empty());
    let port =
        if redirect.port > 0 { redirect.port.to_string().into_bytes() } else { own_port.unwrap_or(b"").to_vec() };
    if !port.is_empty() && !known(&port) {
        out.push(b':');
        out.extend_from_slice(&port);
    }
    let path = new_path(&redirect.path, &redirect.path_prefix, route, request);
    out.extend_from_slice(&with_query(path.unwrap_or_else(|| request.raw_path().to_vec()), request));
    out
}
