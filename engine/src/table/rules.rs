//! What a Route does besides choosing Backends, compiled: rewrite, redirect, CORS, limits, who may come.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use regex::bytes::Regex;

use super::basic::{Admission, Basic, Check};
use super::external::External;
use super::limiter::{Allowed, Limiter};
use super::network::Network;
use super::route;
use super::template::{HashOn, Template};
use super::verified::Verified;
use crate::control::objects::{self, Refusal};
use crate::http::{field, pages};
use crate::tls::peer;

/// What outlives the versions of a Route.
#[derive(Default)]
pub struct Kept {
    /// By scope.
    pub limiters: HashMap<String, Arc<Limiter>>,
    pub verified: Arc<Verified>,
}

#[derive(Default)]
pub struct Rules {
    pub rewrite_regex: Option<Regex>,
    pub location: Template,
    pub limits: Vec<Limit>,
    pub allow: Vec<Network>,
    pub deny: Vec<Network>,
    pub basic: Option<Basic>,
    /// Another service is asked.
    pub external: Option<External>,
    pub certificate: Option<peer::Rule>,
    /// Fields of the client's that the Backend does not get from it.
    pub not_forwarded: Vec<String>,
    /// The right network or one of the credentials suffices.
    pub any: bool,
    pub mirrors: Vec<Mirror>,
    /// None of the above: the hot path looks no further.
    pub plain: bool,
}

pub enum Credentials<'a> {
    Enough,
    /// The service that the Route names decides.
    Ask,
    /// The password's hash takes its time; see `after`.
    Verify(Check),
    Lacking(&'a Basic),
}

pub struct Limit {
    pub allowed: Allowed,
    pub key: HashOn,
    pub exempt: Vec<Network>,
    pub status: u16,
    pub limiter: Arc<Limiter>,
}

pub struct Mirror {
    pub spec: objects::Mirror,
    pub uri: Template,
}

impl Rules {
    pub fn compile(spec: &objects::Route, kept: &mut Kept) -> Result<Self, Refusal> {
        for (changes, path) in
            [(&spec.request_headers, "request_headers"), (&spec.response_headers, "response_headers")]
        {
            changes.as_ref().map_or(Ok(()), |c| sound(c, path))?;
        }
        let rewrite_regex = match &spec.rewrite {
            Some(r) if !r.regex.is_empty() => Some(route::build(&r.regex, false, "rewrite.regex")?),
            _ => None,
        };
        let location = match &spec.redirect {
            Some(r) => Template::compile(&r.location, "redirect.location")?,
            None => Template::default(),
        };
        spec.errors.as_ref().map_or(Ok(()), pages::check)?;
        let access = spec.access.clone().unwrap_or_default();
        let mirror = |(i, m): (usize, &objects::Mirror)| {
            let uri = Template::compile(&m.uri, &format!("mirrors[{i}].uri"))?;
            Ok(Mirror { spec: m.clone(), uri })
        };
        let limits = spec.limits.iter().enumerate().map(|(i, l)| limit(spec, i, l, &mut kept.limiters));
        let plain = spec.respond.is_none()
            && spec.redirect.is_none()
            && spec.rewrite.is_none()
            && spec.cors.is_none()
            && spec.access.is_none()
            && spec.limits.is_empty();
        Ok(Self {
            rewrite_regex,
            location,
            limits: limits.collect::<Result<_, _>>()?,
            allow: Network::parse_all(&access.allow, "access.allow")?,
            deny: Network::parse_all(&access.deny, "access.deny")?,
            basic: access.basic.as_ref().map(|b| Basic::compile(b, &kept.verified)).transpose()?,
            external: access.request.as_ref().map(External::compile).transpose()?,
            certificate: access.certificate.as_ref().map(peer::Rule::compile).transpose()?,
            not_forwarded: not_forwarded(&access),
            any: access.any,
            mirrors: spec.mirrors.iter().enumerate().map(mirror).collect::<Result<_, _>>()?,
            plain,
        })
    }

    pub fn admits(&self, client: IpAddr) -> bool {
        let either = self.any && (self.basic.is_some() || self.external.is_some());
        !self.deny.iter().any(|n| n.contains(client)) && (self.allow.is_empty() || either || self.inside(client))
    }

    /// What the client must still show, after its network was looked at.
    pub fn credentials(&self, client: IpAddr, authorization: Option<&[u8]>, now_nanos: u64) -> Credentials<'_> {
        if self.any && self.inside(client) {
            return Credentials::Enough;
        }
        match &self.basic {
            Some(basic) => match basic.admits(authorization, now_nanos) {
                Admission::Slow(check) => Credentials::Verify(check),
                Admission::Yes => self.after(true),
                Admission::No => self.after(false),
            },
            None => self.after(true),
        }
    }

    /// What is left to be shown once it is known whether the password is right.
    pub fn after(&self, right: bool) -> Credentials<'_> {
        // Where either suffices, a wrong password leaves the service to be asked.
        let last = !self.any || self.external.is_none();
        match (&self.basic, &self.external) {
            (Some(basic), _) if !right && last => Credentials::Lacking(basic),
            (Some(_), Some(_)) if right && self.any => Credentials::Enough,
            (_, Some(_)) => Credentials::Ask,
            (_, None) => Credentials::Enough,
        }
    }

    fn inside(&self, client: IpAddr) -> bool {
        self.allow.iter().any(|n| n.contains(client))
    }
}

fn not_forwarded(access: &objects::Access) -> Vec<String> {
    let said = access.request.iter().flat_map(|r| r.response_headers.iter().cloned());
    let shown = access.certificate.iter().flat_map(|_| peer::FIELDS.map(str::to_owned));
    said.chain(shown).collect()
}

fn limit(
    spec: &objects::Route,
    index: usize,
    limit: &objects::RateLimit,
    limiters: &mut HashMap<String, Arc<Limiter>>,
) -> Result<Limit, Refusal> {
    let path = format!("limits[{index}]");
    let key = HashOn::parse(&limit.key)
        .ok_or_else(|| Refusal::new(format!("{path}.key"), format!("{:?} is not a key", limit.key)))?;
    let scope = if limit.scope.is_empty() { format!("{}#{index}", spec.id) } else { format!("={}", limit.scope) };
    Ok(Limit {
        allowed: Allowed {
            requests_per_second: limit.requests_per_second,
            burst: limit.burst,
            connections: limit.connections,
        },
        key,
        exempt: Network::parse_all(&limit.exempt, &format!("{path}.exempt"))?,
        status: limit.status,
        limiter: limiters.entry(scope).or_default().clone(),
    })
}

/// Names and values that may stand in a header; nothing else gets near a response or request.
pub fn sound(changes: &objects::HeaderChanges, path: &str) -> Result<(), Refusal> {
    for (kind, list) in [("set", &changes.set), ("add", &changes.add)] {
        for (i, (name, value)) in list.iter().enumerate() {
            if !field::is_name(name)
                || !field::is_value(value)
                || !matches!(field::kind(name), field::Kind::Other | field::Kind::Claim)
            {
                return Err(Refusal::new(format!("{path}.{kind}[{i}]"), format!("{name:?} cannot be set to that")));
            }
        }
    }
    match changes.remove.iter().position(|name| !field::is_name(name)) {
        Some(i) => Err(Refusal::new(format!("{path}.remove[{i}]"), "it is not a field's name")),
        None => Ok(()),
    }
}
