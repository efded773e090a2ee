//! The objects of the routing table as they are on the wire (src/fairlead/routing/table.py, field for field).
//!
//! Promises: a missing field has Python's default. Refuses: a field that is not known here, by `parse`, which names its
//! path; whoever applies an object refuses, in the same way, known fields that it does not carry.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Why an object was not taken: the field's path and what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    pub path: String,
    pub message: String,
}

impl Refusal {
    pub fn new(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self { path: path.into(), message: message.into() }
    }
}

pub fn parse<T: DeserializeOwned>(object: &Value) -> Result<T, Refusal> {
    serde_path_to_error::deserialize(object).map_err(|error| {
        let message = error.inner().to_string();
        let mut path = error.path().to_string();
        // serde names an unknown field in its message only.
        if let Some(field) = message.strip_prefix("unknown field `").and_then(|rest| rest.split('`').next())
            && !path.ends_with(field)
        {
            path = if path == "." { field.to_owned() } else { format!("{path}.{field}") };
        }
        Refusal { path, message }
    })
}

// --- The structs of table.py, in its order; `tests/dataplane` compares the two.

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ListenerProtocol {
    #[default]
    Http,
    Https,
    Tcp,
    Tls,
    Udp,
    Dns,
}

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

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CertificateMode {
    #[default]
    Required,
    Optional,
    OptionalNoCa,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AffinityKind {
    #[default]
    Client,
    Cookie,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CheckKind {
    #[default]
    Http,
    Tcp,
    Grpc,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BackendProtocol {
    #[default]
    Http,
    H2,
    H2c,
    Https,
    Tcp,
    Tls,
    Udp,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EndpointState {
    #[default]
    Ready,
    Draining,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HttpSettings {
    pub request_header_timeout_seconds: f64,
    pub idle_timeout_seconds: f64,
    pub max_header_bytes: usize,
    pub max_headers: usize,
    pub max_body_bytes: u64,
    pub trusted_hops: u32,
    pub h2c: bool,
}

impl Default for HttpSettings {
    fn default() -> Self {
        Self {
            request_header_timeout_seconds: 10.0,
            idle_timeout_seconds: 75.0,
            max_header_bytes: 65536,
            max_headers: 100,
            max_body_bytes: 0,
            trusted_hops: 0,
            h2c: Default::default(),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Listener {
    pub id: String,
    pub protocol: ListenerProtocol,
    pub sockets: Vec<String>,
    pub backend: String,
    pub certificates: Vec<String>,
    pub client_ca: String,
    pub transparent: bool,
    pub proxy_protocol_in: bool,
    pub http: Option<HttpSettings>,
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
pub struct Retry {
    pub attempts: u32,
    pub on: Vec<String>,
    pub buffer_bytes: usize,
    pub budget_percent: f64,
    pub timeout_seconds: f64,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            attempts: 2,
            on: vec!["connect".to_owned(), "reset".to_owned()],
            buffer_bytes: 65536,
            budget_percent: 20.0,
            timeout_seconds: 0.0,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Timeouts {
    pub connect_seconds: f64,
    pub request_seconds: f64,
    pub idle_seconds: f64,
    pub backend_request_seconds: f64,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self { connect_seconds: 5.0, request_seconds: 0.0, idle_seconds: 0.0, backend_request_seconds: 0.0 }
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
pub struct BasicAuth {
    pub realm: String,
    pub users: Vec<(String, String)>,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AuthRequest {
    pub backend: String,
    pub host: String,
    pub uri: Vec<(String, String)>,
    pub method: String,
    pub request_headers: Option<HeaderChanges>,
    pub response_headers: Vec<String>,
    pub redirect: Vec<(String, String)>,
    pub signin: Vec<(String, String)>,
    pub always_set_cookie: bool,
    pub cache_key: Vec<(String, String)>,
    pub cache_seconds: f64,
    pub cache_statuses: Vec<u16>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClientCertificate {
    pub ca_pem: String,
    pub mode: CertificateMode,
    pub depth: u32,
    pub match_cn: String,
    pub error_page: Vec<(String, String)>,
    pub forward: bool,
}

impl Default for ClientCertificate {
    fn default() -> Self {
        Self {
            ca_pem: Default::default(),
            mode: CertificateMode::Required,
            depth: 1,
            match_cn: Default::default(),
            error_page: Default::default(),
            forward: Default::default(),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Access {
    pub allow: Vec<String>,
    pub deny: Vec<String>,
    pub basic: Option<BasicAuth>,
    pub request: Option<AuthRequest>,
    pub certificate: Option<ClientCertificate>,
    pub any: bool,
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

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Affinity {
    pub kind: AffinityKind,
    pub timeout_seconds: f64,
    pub cookie: String,
    pub path: String,
    pub domain: String,
    pub same_site: String,
    pub secure: String,
    pub max_age_seconds: u64,
    pub partitioned: bool,
    pub persistent: bool,
    pub change_on_failure: bool,
    pub sticky_split: bool,
}

impl Default for Affinity {
    fn default() -> Self {
        Self {
            kind: AffinityKind::Client,
            timeout_seconds: 10800.0,
            cookie: Default::default(),
            path: "/".to_owned(),
            domain: Default::default(),
            same_site: Default::default(),
            secure: Default::default(),
            max_age_seconds: 0,
            partitioned: Default::default(),
            persistent: Default::default(),
            change_on_failure: Default::default(),
            sticky_split: true,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ActiveHealth {
    pub kind: CheckKind,
    pub path: String,
    pub host: String,
    pub port: u16,
    pub interval_seconds: f64,
    pub timeout_seconds: f64,
    pub healthy_threshold: u32,
    pub unhealthy_threshold: u32,
    pub expected: (u16, u16),
}

impl Default for ActiveHealth {
    fn default() -> Self {
        Self {
            kind: CheckKind::Http,
            path: "/".to_owned(),
            host: Default::default(),
            port: 0,
            interval_seconds: 10.0,
            timeout_seconds: 1.0,
            healthy_threshold: 2,
            unhealthy_threshold: 3,
            expected: (200, 399),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Outlier {
    pub consecutive_errors: u32,
    pub connect_failures: u32,
    pub success_rate_percent: f64,
    pub ejection_seconds: f64,
    pub max_ejection_seconds: f64,
    pub max_ejected_percent: f64,
}

impl Default for Outlier {
    fn default() -> Self {
        Self {
            consecutive_errors: 5,
            connect_failures: 3,
            success_rate_percent: 0.0,
            ejection_seconds: 10.0,
            max_ejection_seconds: 300.0,
            max_ejected_percent: 50.0,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    pub endpoint_connections: u32,
    pub endpoint_requests: u32,
    pub max_waiting: u32,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BackendTls {
    pub ca_pem: String,
    pub server_name: String,
    pub certificate: String,
    pub insecure: bool,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Virtual {
    pub address: String,
    pub port: u16,
    pub node_port: bool,
    pub external: bool,
    pub cluster: String,
    pub sources: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Backend {
    pub id: String,
    pub protocol: BackendProtocol,
    pub algorithm: String,
    pub hash_on: String,
    pub subset: u32,
    pub affinity: Option<Affinity>,
    pub health: Option<ActiveHealth>,
    pub outlier: Option<Outlier>,
    pub slow_start_seconds: f64,
    pub panic_threshold: f64,
    pub retry: Option<Retry>,
    pub timeouts: Option<Timeouts>,
    pub limits: Option<Limits>,
    pub tls: Option<BackendTls>,
    pub zone: String,
    #[serde(rename = "virtual")]
    pub virtuals: Vec<Virtual>,
    pub resolve: String,
    pub hold: bool,
    pub info: Info,
}

impl Default for Backend {
    fn default() -> Self {
        Self {
            id: Default::default(),
            protocol: BackendProtocol::Http,
            algorithm: Default::default(),
            hash_on: Default::default(),
            subset: 0,
            affinity: Default::default(),
            health: Default::default(),
            outlier: Default::default(),
            slow_start_seconds: 0.0,
            panic_threshold: 0.0,
            retry: Default::default(),
            timeouts: Default::default(),
            limits: Default::default(),
            tls: Default::default(),
            zone: Default::default(),
            virtuals: Default::default(),
            resolve: Default::default(),
            hold: Default::default(),
            info: Default::default(),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Certificate {
    pub id: String,
    pub chain_pem: String,
    pub key_pem: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Name {
    pub id: String,
    pub name: String,
    pub values: Vec<String>,
    pub backend: String,
    pub ttl_seconds: u32,
}

impl Default for Name {
    fn default() -> Self {
        Self {
            id: Default::default(),
            name: Default::default(),
            values: Default::default(),
            backend: Default::default(),
            ttl_seconds: 5,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Endpoint {
    pub address: String,
    pub port: u16,
    pub weight: u32,
    pub zone: String,
    pub state: EndpointState,
    pub name: String,
}

impl Default for Endpoint {
    fn default() -> Self {
        Self {
            address: Default::default(),
            port: 0,
            weight: 1,
            zone: Default::default(),
            state: EndpointState::Ready,
            name: Default::default(),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Probe {
    pub id: String,
    pub kind: CheckKind,
    pub address: String,
    pub port: u16,
    pub path: String,
    pub scheme: String,
    pub headers: Vec<(String, String)>,
    pub service: String,
    pub initial_delay_seconds: f64,
    pub period_seconds: f64,
    pub timeout_seconds: f64,
    pub success_threshold: u32,
    pub failure_threshold: u32,
    pub fast_start: bool,
}

impl Default for Probe {
    fn default() -> Self {
        Self {
            id: String::new(),
            kind: CheckKind::default(),
            address: String::new(),
            port: 0,
            path: "/".to_owned(),
            scheme: "http".to_owned(),
            headers: Vec::new(),
            service: String::new(),
            initial_delay_seconds: 0.0,
            period_seconds: 10.0,
            timeout_seconds: 1.0,
            success_threshold: 1,
            failure_threshold: 3,
            fast_start: true,
        }
    }
}
