//! Routes: what fits a request and what is done with it.

use serde::{Deserialize, Serialize};

use super::{Access, Retry, Timeouts};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PathKind {
    Exact,
    #[default]
    Prefix,
    Starts,
    Regex,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ValueKind {
    #[default]
    Exact,
    Regex,
    Present,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PathMatch {
    #[serde(rename = "type")]
    pub kind: PathKind,
    pub value: String,
    pub ignore_case: bool,
}

impl Default for PathMatch {
    fn default() -> Self {
        Self { kind: PathKind::Prefix, value: "/".to_owned(), ignore_case: Default::default() }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ValueMatch {
    pub name: String,
    #[serde(rename = "type")]
    pub kind: ValueKind,
    pub value: String,
}

impl Default for ValueMatch {
    fn default() -> Self {
        Self { name: Default::default(), kind: ValueKind::Exact, value: Default::default() }
    }
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Match {
    pub path: Option<PathMatch>,
    pub method: String,
    pub headers: Vec<ValueMatch>,
    pub query: Vec<ValueMatch>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WeightedBackend {
    pub backend: String,
    pub weight: u32,
}

impl Default for WeightedBackend {
    fn default() -> Self {
        Self { backend: Default::default(), weight: 1 }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Redirect {
    pub scheme: String,
    pub host: String,
    pub port: u16,
    pub path: String,
    pub path_prefix: String,
    pub location: Vec<(String, String)>,
    pub status: u16,
}

impl Default for Redirect {
    fn default() -> Self {
        Self {
            scheme: Default::default(),
            host: Default::default(),
            port: 0,
            path: Default::default(),
            path_prefix: Default::default(),
            location: Default::default(),
            status: 302,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Respond {
    pub status: u16,
    pub body: String,
    pub content_type: String,
}

impl Default for Respond {
    fn default() -> Self {
        Self { status: 0, body: Default::default(), content_type: "text/plain; charset=utf-8".to_owned() }
    }
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Rewrite {
    pub host: String,
    pub path: String,
    pub path_prefix: String,
    pub regex: String,
    pub substitution: String,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HeaderChanges {
    pub set: Vec<(String, String)>,
    pub add: Vec<(String, String)>,
    pub remove: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Mirror {
    pub backend: String,
    pub percent: f64,
    pub body: bool,
    pub host: String,
    pub uri: Vec<(String, String)>,
}

impl Default for Mirror {
    fn default() -> Self {
        Self {
            backend: Default::default(),
            percent: 100.0,
            body: true,
            host: Default::default(),
            uri: Default::default(),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Cors {
    pub allow_origins: Vec<String>,
    /// The `*` of an origin stands for one label instead of anything.
    pub one_label: bool,
    pub allow_methods: Vec<String>,
    pub allow_headers: Vec<String>,
    pub expose_headers: Vec<String>,
    pub allow_credentials: bool,
    pub max_age_seconds: u64,
}

impl Default for Cors {
    fn default() -> Self {
        Self {
            allow_origins: Default::default(),
            one_label: Default::default(),
            allow_methods: Default::default(),
            allow_headers: Default::default(),
            expose_headers: Default::default(),
            allow_credentials: Default::default(),
            max_age_seconds: 5,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RateLimit {
    pub requests_per_second: f64,
    pub burst: u32,
    pub key: String,
    pub connections: u32,
    pub scope: String,
    pub exempt: Vec<String>,
    pub status: u16,
}

impl Default for RateLimit {
    fn default() -> Self {
        Self {
            requests_per_second: 0.0,
            burst: 1,
            key: "client".to_owned(),
            connections: 0,
            scope: Default::default(),
            exempt: Default::default(),
            status: 429,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ErrorPages {
    pub statuses: Vec<u16>,
    pub backend: String,
    pub headers: Vec<(String, String)>,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Info {
    pub object: String,
    pub rule: String,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Route {
    pub id: String,
    pub listeners: Vec<String>,
    pub hosts: Vec<String>,
    #[serde(rename = "match")]
    pub matching: Match,
    pub order: i64,
    pub backends: Vec<WeightedBackend>,
    pub redirect: Option<Redirect>,
    pub respond: Option<Respond>,
    pub rewrite: Option<Rewrite>,
    pub request_headers: Option<HeaderChanges>,
    pub response_headers: Option<HeaderChanges>,
    pub mirrors: Vec<Mirror>,
    pub cors: Option<Cors>,
    pub retry: Option<Retry>,
    pub timeouts: Option<Timeouts>,
    pub limits: Vec<RateLimit>,
    pub access: Option<Access>,
    pub max_body_bytes: u64,
    pub fallback: String,
    pub errors: Option<ErrorPages>,
    pub info: Info,
}
