//! What our own names mean: the table's Names as a zone. Pure.
//!
//! Follows Kubernetes' DNS specification 1.1.0 (kubernetes/dns docs/specification.md). A Name's values are addresses,
//! `cname:NAME` or `srv:PRIORITY WEIGHT PORT TARGET`; with a Backend its answer is that Backend's endpoints of the moment,
//! and below it each endpoint has a name (its address with dashes, or its pod's name). A Name that begins with `_` and has
//! a Backend answers SRV. A Name with neither marks a zone as ours: what is not known in it does not exist; anything
//! outside of our zones is somebody else's.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use super::packet;
use crate::control::objects;

pub const DEFAULT_ZONE: &str = "cluster.local";

/// Where a Backend's endpoints come from: (address, port, pod's name).
pub trait Endpoints: Send + Sync {
    fn ready(&self) -> Vec<(IpAddr, u16, String)>;
}

/// A headless Service of two address families: two Backends below one name.
struct Both(Arc<dyn Endpoints>, Arc<dyn Endpoints>);

impl Endpoints for Both {
    fn ready(&self) -> Vec<(IpAddr, u16, String)> {
        let mut all = self.0.ready();
        all.extend(self.1.ready());
        all
    }
}

#[derive(Default)]
pub struct Zone {
    names: HashMap<String, Named>,
    /// Names that have something below them: they exist, with nothing of their own.
    above: HashSet<String>,
    reverse: HashMap<IpAddr, String>,
    /// Names whose endpoints have names of their own.
    headless: Vec<String>,
    zones: Vec<String>,
}

struct Named {
    values: Vec<Value>,
    backend: Option<Arc<dyn Endpoints>>,
    ttl: u32,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    Address(IpAddr),
    Alias(String),
    Service {
        priority: u16,
        weight: u16,
        port: u16,
        target: String,
    },
    Text(String),
    Pointer(String),
    /// RFC 8482's answer to ANY.
    Minimal,
}

/// One record of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    pub name: String,
    pub ttl: u32,
    pub value: Value,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Lookup {
    /// Records for the answer and (of SRV's targets) for the additional section.
    Found {
        answers: Vec<Found>,
        more: Vec<Found>,
    },
    /// The name exists, without such a record.
    NoData,
    NoSuchName,
    /// An alias to somebody else's name: the rest is to be found there.
    Elsewhere {
        answers: Vec<Found>,
        target: String,
    },
    NotOurs,
}

pub fn parse_value(text: &str) -> Result<Value, String> {
    if let Ok(address) = text.parse() {
        return Ok(Value::Address(address));
    }
    if let Some(name) = text.strip_prefix("cname:") {
        return valid_name(name).map(Value::Alias);
    }
    if let Some(rest) = text.strip_prefix("srv:") {
        let parts: Vec<&str> = rest.split(' ').collect();
        if let [priority, weight, port, target] = parts[..]
            && let (Ok(priority), Ok(weight), Ok(port)) = (priority.parse(), weight.parse(), port.parse())
        {
            return Ok(Value::Service { priority, weight, port, target: valid_name(target)? });
        }
        return Err(format!("{text:?} is not \"srv:PRIORITY WEIGHT PORT TARGET\""));
    }
    Err(format!("{text:?} is neither an address nor \"cname:NAME\" nor \"srv:…\""))
}

pub fn valid_name(name: &str) -> Result<String, String> {
    let lower = name.trim_end_matches('.').to_ascii_lowercase();
    if !lower.is_empty() && packet::put_name(&mut Vec::new(), &lower) && !lower.split('.').any(str::is_empty) {
        return Ok(lower);
    }
    Err(format!("{name:?} is not a name"))
}

impl Zone {
    /// Adds a Name that has been checked (`check`).
    pub fn add(&mut self, spec: &objects::Name, backend: Option<Arc<dyn Endpoints>>) {
        let Ok(name) = valid_name(&spec.name) else { return };
        if spec.values.is_empty() && spec.backend.is_empty() {
            self.zones.push(name);
            return;
        }
        let values: Vec<Value> = spec.values.iter().filter_map(|text| parse_value(text).ok()).collect();
        for value in &values {
            if let Value::Address(address) = value {
                self.reverse.entry(*address).or_insert_with(|| name.clone());
            }
        }
        let mut rest = name.as_str();
        while let Some((_, parent)) = rest.split_once('.') {
            self.above.insert(parent.to_owned());
            rest = parent;
        }
        if backend.is_some() && !name.starts_with('_') && !self.headless.contains(&name) {
            self.headless.push(name.clone());
        }
        let ttl = spec.ttl_seconds;
        let known = self.names.entry(name).or_insert(Named { values: Vec::new(), backend: None, ttl });
        known.values.extend(values);
        known.backend = match (known.backend.take(), backend) {
            (Some(first), Some(second)) => Some(Arc::new(Both(first, second))),
            (first, second) => first.or(second),
        };
    }

    pub fn lookup(&self, name: &str, kind: u16) -> Lookup {
        if kind == packet::PTR
            && let Some(found) = self.pointer(name)
        {
            return found;
        }
        if !self.is_ours(name) {
            return Lookup::NotOurs;
        }
        let mut answers = Vec::new();
        let mut wanted = name.to_owned();
        // An alias may lead to an alias; more than a few is a circle.
        for _ in 0..8 {
            if !self.is_ours(&wanted) {
                return Lookup::Elsewhere { answers, target: wanted };
            }
            let Some((ttl, values)) = self.values_of(&wanted) else {
                let exists = self.exists(&wanted);
                return match (answers.is_empty(), exists) {
                    (true, false) => Lookup::NoSuchName,
                    (true, true) => Lookup::NoData,
                    (false, _) => Lookup::Found { answers, more: Vec::new() },
                };
            };
            let alias = values.iter().find_map(|value| match value {
                Value::Alias(target) if kind != packet::CNAME => Some(target.clone()),
                _ => None,
            });
            if let Some(target) = alias {
                answers.push(Found { name: wanted, ttl, value: Value::Alias(target.clone()) });
                wanted = target;
                continue;
            }
            let fitting = values.into_iter().filter(|value| kind_of(value) == kind);
            answers.extend(fitting.map(|value| Found { name: wanted.clone(), ttl, value }));
            if answers.is_empty() && kind == packet::ANY {
                answers.push(Found { name: wanted, ttl, value: Value::Minimal });
            }
            let more = self.targets(&answers);
            return if answers.is_empty() { Lookup::NoData } else { Lookup::Found { answers, more } };
        }
        Lookup::Found { answers, more: Vec::new() }
    }

    /// The zone of ours that a name is in.
    pub fn zone_of(&self, name: &str) -> Option<&str> {
        let default = if self.zones.is_empty() { Some(DEFAULT_ZONE) } else { None };
        let zones = self.zones.iter().map(String::as_str).chain(default);
        zones.filter(|zone| is_below(name, zone)).max_by_key(|zone| zone.len())
    }

    fn is_ours(&self, name: &str) -> bool {
        self.zone_of(name).is_some() || self.names.contains_key(name)
    }

    fn exists(&self, name: &str) -> bool {
        self.names.contains_key(name) || self.above.contains(name) || self.zones.iter().any(|zone| zone == name)
    }

    fn values_of(&self, name: &str) -> Option<(u32, Vec<Value>)> {
        if let Some(named) = self.names.get(name) {
            let mut values = named.values.clone();
            if let Some(backend) = &named.backend {
                let ready = backend.ready();
                if name.starts_with('_') {
                    values.extend(ready.iter().map(|endpoint| service_of(name, endpoint)));
                } else {
                    values.extend(distinct(ready.into_iter().map(|(address, ..)| Value::Address(address))));
                }
            }
            return Some((named.ttl, values));
        }
        let (first, parent) = name.split_once('.')?;
        if let Some(named) = self.names.get(parent)
            && let Some(backend) = &named.backend
            && !parent.starts_with('_')
        {
            let fits = |(address, _, pod): &(IpAddr, u16, String)| dashed(*address) == first || pod_name(pod) == first;
            let values =
                distinct(backend.ready().into_iter().filter(fits).map(|(address, ..)| Value::Address(address)));
            return (!values.is_empty()).then_some((named.ttl, values));
        }
        self.computed(first, parent)
    }

    /// Names that need no table: pods' by their address, and the version of the specification.
    fn computed(&self, first: &str, parent: &str) -> Option<(u32, Vec<Value>)> {
        const TTL: u32 = 5;
        if first == "dns-version" && self.zone_of(parent) == Some(parent) {
            return Some((TTL, vec![Value::Text("1.1.0".to_owned())]));
        }
        let (_namespace, rest) = parent.split_once('.')?;
        let zone = rest.strip_prefix("pod.")?;
        if self.zone_of(zone) != Some(zone) {
            return None;
        }
        Some((TTL, vec![Value::Address(undashed(first)?)]))
    }

    fn pointer(&self, name: &str) -> Option<Lookup> {
        let address = reverse_address(name)?;
        let found = |name: String, ttl| {
            let value = Value::Pointer(name);
            Lookup::Found { answers: vec![Found { name: String::new(), ttl, value }], more: Vec::new() }
        };
        let mut answer = match self.reverse.get(&address) {
            Some(known) => found(known.clone(), self.names.get(known).map_or(5, |named| named.ttl)),
            None => self.headless.iter().find_map(|parent| {
                let named = self.names.get(parent)?;
                let endpoint = named.backend.as_ref()?.ready().into_iter().find(|(one, ..)| *one == address)?;
                Some(found(format!("{}.{parent}", endpoint_label(&endpoint)), named.ttl))
            })?,
        };
        if let Lookup::Found { answers, .. } = &mut answer {
            answers[0].name = name.to_owned();
        }
        Some(answer)
    }

    /// The addresses of SRV's targets, which save the client a question.
    fn targets(&self, answers: &[Found]) -> Vec<Found> {
        let targets = answers.iter().filter_map(|found| match &found.value {
            Value::Service { target, .. } => Some(target),
            _ => None,
        });
        let mut seen = HashSet::new();
        let mut more = Vec::new();
        for target in targets.filter(|target| seen.insert(target.as_str())).take(16) {
            let Some((ttl, values)) = self.values_of(target) else { continue };
            let addresses = values.into_iter().filter(|value| matches!(value, Value::Address(_)));
            more.extend(addresses.map(|value| Found { name: target.clone(), ttl, value }));
        }
        more
    }
}

pub fn kind_of(value: &Value) -> u16 {
    match value {
        Value::Address(IpAddr::V4(_)) => packet::A,
        Value::Address(IpAddr::V6(_)) => packet::AAAA,
        Value::Alias(_) => packet::CNAME,
        Value::Service { .. } => packet::SRV,
        Value::Text(_) => packet::TXT,
        Value::Pointer(_) => packet::PTR,
        Value::Minimal => packet::HINFO,
    }
}

fn is_below(name: &str, zone: &str) -> bool {
    name.strip_suffix(zone).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

fn distinct(values: impl Iterator<Item = Value>) -> Vec<Value> {
    let mut all: Vec<Value> = Vec::new();
    for value in values {
        if !all.contains(&value) {
            all.push(value);
        }
    }
    all
}

/// `_port._protocol.parent`: the record of one endpoint.
fn service_of(name: &str, endpoint: &(IpAddr, u16, String)) -> Value {
    let parent = name.splitn(3, '.').nth(2).unwrap_or("");
    let target = format!("{}.{parent}", endpoint_label(endpoint));
    Value::Service { priority: 0, weight: 100, port: endpoint.1, target }
}

fn pod_name(pod: &str) -> &str {
    pod.rsplit('/').next().unwrap_or("")
}

fn endpoint_label((address, _, pod): &(IpAddr, u16, String)) -> String {
    let name = pod_name(pod);
    // A pod of a StatefulSet has a name that is worth giving; any is valid.
    if name.is_empty() || name.contains('.') { dashed(*address) } else { name.to_owned() }
}

fn dashed(address: IpAddr) -> String {
    match address {
        IpAddr::V4(four) => four.to_string().replace('.', "-"),
        // A label does not begin or end with a dash.
        IpAddr::V6(six) => six.segments().map(|part| format!("{part:x}")).join("-"),
    }
}

fn undashed(label: &str) -> Option<IpAddr> {
    let four = label.replace('-', ".").parse::<Ipv4Addr>().map(IpAddr::V4);
    four.or_else(|_| label.replace('-', ":").parse::<Ipv6Addr>().map(IpAddr::V6)).ok()
}

/// The address that `in-addr.arpa` and `ip6.arpa` names stand for (RFC 1035, 3.5; RFC 3596, 2.5).
fn reverse_address(name: &str) -> Option<IpAddr> {
    if let Some(rest) = name.strip_suffix(".in-addr.arpa") {
        let parts: Vec<u8> = rest.split('.').map(|part| part.parse().ok()).collect::<Option<_>>()?;
        let [d, c, b, a]: [u8; 4] = parts.try_into().ok()?;
        return Some(Ipv4Addr::new(a, b, c, d).into());
    }
    let rest = name.strip_suffix(".ip6.arpa")?;
    let mut bits = 0u128;
    let parts: Vec<&str> = rest.split('.').collect();
    for part in parts.iter().rev() {
        let digit = part.chars().next().filter(|_| part.len() == 1)?.to_digit(16)?;
        bits = bits << 4 | u128::from(digit);
    }
    (parts.len() == 32).then(|| Ipv6Addr::from_bits(bits).into())
}

#[cfg(test)]
mod tests;
