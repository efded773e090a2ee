//! One Route, ready to be matched: compiled expressions and a rank among those of the same path.
//!
//! Promises: regular expressions are of the `regex` crate (linear time) with a bounded program size; one for a path is
//! searched in it, one for a value matches the whole value. Refuses: an expression that does not compile, with its path.

use std::collections::HashMap;
use std::sync::Arc;

use regex::bytes::{Regex, RegexBuilder};

use super::limiter::Limiter;
use super::rules::Rules;
use crate::control::objects::{self, PathKind, Refusal, ValueKind};
use crate::stats::counters::{Codes, Histogram};

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
    pub fn compile(
        spec: objects::Route,
        counters: Arc<RouteCounters>,
        limiters: &mut HashMap<String, Arc<Limiter>>,
    ) -> Result<Self, Refusal> {
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
        let rules = Rules::compile(&spec, limiters)?;
        Ok(Self { spec, path, headers, query, rules, counters })
    }

    /// One that needs no compiling.
    pub fn bare(spec: objects::Route, counters: Arc<RouteCounters>) -> Self {
        let rules = Rules { plain: true, ..Rules::default() };
        Self { spec, path: None, headers: Vec::new(), query: Vec::new(), rules, counters }
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
