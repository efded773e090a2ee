//! Another service is asked whether a request may come in: the rule, compiled, and what it answered lately.
//!
//! Promises: answers are remembered for one Route, under a key that the request has (none: not at all), for its time, with at
//! most `MAX_KEYS` of them; one that sets a cookie or forbids it is not remembered. Refuses: names that are no fields'.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::rules;
use super::template::Template;
use crate::control::objects::{AuthRequest, Refusal};
use crate::http::ask::Reply;
use crate::http::field;

const MAX_KEYS: usize = 4096;
/// What the service is told under these names is ours.
const OURS: [&str; 4] = ["X-Original-URL", "X-Original-URI", "X-Original-Method", "X-Auth-Request-Redirect"];

/// What was answered under a key, and until when it counts.
type Known = HashMap<Vec<u8>, (u64, Arc<Reply>)>;

pub struct External {
    pub spec: AuthRequest,
    pub uri: Template,
    pub redirect: Template,
    pub signin: Template,
    key: Template,
    /// Fields of the client's that the service does not get.
    pub not_asked: Vec<String>,
    known: Mutex<Known>,
}

impl External {
    pub fn compile(spec: &AuthRequest) -> Result<Self, Refusal> {
        if let Some(changes) = &spec.request_headers {
            rules::sound(changes, "access.request.request_headers")?;
        }
        let odd = |name: &String| !field::is_name(name) || field::kind(name) != field::Kind::Other;
        if let Some(i) = spec.response_headers.iter().position(odd) {
            return Err(Refusal::new(format!("access.request.response_headers[{i}]"), "it cannot be passed on"));
        }
        if !spec.method.is_empty() && !field::is_name(&spec.method) {
            return Err(Refusal::new("access.request.method", "it is not a method"));
        }
        if !spec.host.is_empty() && !field::is_authority(spec.host.as_bytes()) {
            return Err(Refusal::new("access.request.host", "it is not a host"));
        }
        let template = |parts, name: &str| Template::compile(parts, &format!("access.request.{name}"));
        Ok(Self {
            uri: template(&spec.uri, "uri")?,
            redirect: template(&spec.redirect, "redirect")?,
            signin: template(&spec.signin, "signin")?,
            key: template(&spec.cache_key, "cache_key")?,
            not_asked: OURS.iter().map(|name| (*name).to_owned()).collect(),
            spec: spec.clone(),
            known: Mutex::default(),
        })
    }

    /// Under which key its answer for this request is remembered.
    pub fn key(&self, subject: &super::template::Subject<'_>) -> Option<Vec<u8>> {
        if self.key.is_empty() || self.spec.cache_seconds <= 0.0 {
            return None;
        }
        self.key.key(subject)
    }

    pub fn recall(&self, key: &[u8], now_nanos: u64) -> Option<Arc<Reply>> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(key).filter(|(until, _)| *until > now_nanos).map(|(_, reply)| reply.clone())
    }

    pub fn remember(&self, key: Vec<u8>, reply: &Arc<Reply>, now_nanos: u64) {
        let forbidden = reply.values("cache-control").any(|value| {
            field::tokens(value)
                .any(|t| [&b"no-store"[..], b"no-cache", b"private"].iter().any(|f| t.eq_ignore_ascii_case(f)))
        });
        if !self.spec.cache_statuses.contains(&reply.status) || forbidden || reply.values("set-cookie").next().is_some()
        {
            return;
        }
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MAX_KEYS {
            known.retain(|_, (until, _)| *until > now_nanos);
        }
        if known.len() >= MAX_KEYS {
            known.clear();
        }
        let until = now_nanos + (self.spec.cache_seconds.min(86400.0) * 1e9) as u64;
        known.insert(key, (until, reply.clone()));
    }
}
