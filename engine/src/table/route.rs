//! One Route, ready to be matched: compiled expressions and a rank among those of the same path.
//!
//! Promises: regular expressions are of the `regex` crate (linear time) with a bounded program size; one for a path is
//! searched in it, one for a value matches the whole value. Refuses: an expression that does not compile, with its path.
//! A Route that is refused is a closed door (`closed`): it answers 503 where it would have answered, so that no less specific
//! Route, which may guard nothing, answers in its place.

use std::sync::Arc;

use regex::bytes::{Regex, RegexBuilder};

use serde_json::Value;

use super::rules::{Kept, Rules};
use crate::control::objects::{self, PathKind, Refusal, ValueKind};
use crate::stats::counters::{Codes, Histogram};

const CLOSED: &str = "this path is closed: its Route was refused (see its Events)\n";

/// The program of one expression may not take more.
const REGEX_SIZE_LIMIT: usize = 1 << 20;

pub struct Route {
    pub spec: objects::Route,
    pub path: Option<Regex>,
    pub headers: Vec<ValueMatcher>,
    pub query: Vec<ValueMatcher>,
    pub rules: Rules,
    pub counters: Arc<RouteCounters>,
}

#[derive(Default)]
pub struct RouteCounters {
    pub codes: Codes,
    pub latency: Histogram,
}

pub struct ValueMatcher {
    pub name: String,
    test: Test,
}

enum Test {
    Exact(String),
    Regex(Regex),
    Present,
}

impl ValueMatcher {
    fn compile(spec: &objects::ValueMatch, path: &str) -> Result<Self, Refusal> {
        let test = match spec.kind {
            ValueKind::Exact => Test::Exact(spec.value.clone()),
            ValueKind::Regex => Test::Regex(compile(&spec.value, false, &format!("{path}.value"))?),
            ValueKind::Present => Test::Present,
        };
        Ok(Self { name: spec.name.clone(), test })
    }

    pub fn fits(&self, value: &[u8]) -> bool {
        match &self.test {
            Test::Exact(wanted) => wanted.as_bytes() == value,
            Test::Regex(regex) => regex.is_match(value),
            Test::Present => true,
        }
    }
}

/// The plain text that an expression begins with, as an expression.
fn beginning(expression: &str) -> String {
    let (anchor, rest) = expression.strip_prefix('^').map_or(("", expression), |rest| ("^", rest));
    if rest.contains('|') {
        return String::new();
    }
    let plain: String = rest.chars().take_while(|c| c.is_alphanumeric() || "/-_~ ".contains(*c)).collect();
    // The last character may be one that a repetition makes optional.
    let kept =
        if plain.len() < rest.len() { plain.char_indices().next_back().map_or(0, |(at, _)| at) } else { plain.len() };
    format!("{anchor}{}", regex::escape(&plain[..kept]))
}

/// An expression anchored at both ends.
fn compile(expression: &str, ignore_case: bool, path: &str) -> Result<Regex, Refusal> {
    build(&format!("^(?:{expression})$"), ignore_case, path)
}

pub fn build(expression: &str, ignore_case: bool, path: &str) -> Result<Regex, Refusal> {
    RegexBuilder::new(expression)
        .case_insensitive(ignore_case)
        .size_limit(REGEX_SIZE_LIMIT)
        .build()
        .map_err(|error| Refusal::new(path, error.to_string()))
}

impl Route {
    pub fn compile(spec: objects::Route, counters: Arc<RouteCounters>, kept: &mut Kept) -> Result<Self, Refusal> {
        let path = match &spec.matching.path {
            Some(p) if p.kind == PathKind::Regex => Some(build(&p.value, p.ignore_case, "match.path.value")?),
            _ => None,
        };
        let values = |list: &[objects::ValueMatch], kind: &str| {
            list.iter()
                .enumerate()
                .map(|(i, v)| ValueMatcher::compile(v, &format!("match.{kind}[{i}]")))
                .collect::<Result<Vec<_>, _>>()
        };
        let headers = values(&spec.matching.headers, "headers")?;
        let query = values(&spec.matching.query, "query")?;
        let rules = Rules::compile(&spec, kept)?;
        Ok(Self { spec, path, headers, query, rules, counters })
    }

    /// One that needs no compiling.
    pub fn bare(spec: objects::Route, counters: Arc<RouteCounters>) -> Self {
        let rules = Rules { plain: true, ..Rules::default() };
        Self { spec, path: None, headers: Vec::new(), query: Vec::new(), rules, counters }
    }

    /// What a refused Route leaves: 503 for the requests that it would have taken. An expression that does not compile
    /// stands for what begins as it does, a value for any value. `None`: it does not even say at which hosts.
    pub fn closed(object: &Value, counters: Arc<RouteCounters>) -> Option<Self> {
        let field = |name: &str| object.get(name).cloned().unwrap_or(Value::Null);
        let list = |name: &str| match field(name) {
            Value::Null => Some(Vec::new()),
            value => serde_json::from_value::<Vec<String>>(value).ok(),
        };
        let matching: objects::Match = match field("match") {
            Value::Null => objects::Match::default(),
            value => serde_json::from_value(value).ok()?,
        };
        let spec = objects::Route {
            id: field("id").as_str()?.to_owned(),
            listeners: list("listeners")?,
            hosts: list("hosts")?,
            order: field("order").as_i64().unwrap_or(0),
            info: serde_json::from_value(field("info")).unwrap_or_default(),
            respond: Some(objects::Respond { status: 503, body: CLOSED.to_owned(), ..objects::Respond::default() }),
            matching,
            ..objects::Route::default()
        };
        let path = match &spec.matching.path {
            Some(p) if p.kind == PathKind::Regex => Some(
                build(&p.value, p.ignore_case, "").or_else(|_| build(&beginning(&p.value), p.ignore_case, "")).ok()?,
            ),
            _ => None,
        };
        let lenient = |list: &[objects::ValueMatch]| {
            let any = |v: &objects::ValueMatch| ValueMatcher { name: v.name.clone(), test: Test::Present };
            list.iter().map(|v| ValueMatcher::compile(v, "").unwrap_or_else(|_| any(v))).collect()
        };
        let (headers, query) = (lenient(&spec.matching.headers), lenient(&spec.matching.query));
        Some(Self { spec, path, headers, query, rules: Rules::default(), counters })
    }

    /// Smaller comes first among Routes whose host and path fit alike.
    pub fn rank(&self) -> impl Ord + '_ {
        let m = &self.spec.matching;
        (
            m.method.is_empty(),
            std::cmp::Reverse(m.headers.len()),
            std::cmp::Reverse(m.query.len()),
            self.spec.order,
            self.spec.id.as_str(),
        )
    }
}
