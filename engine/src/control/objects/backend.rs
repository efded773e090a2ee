//! Backends, their endpoints, and the probes of pods.

use serde::{Deserialize, Serialize};

use super::{HeaderChanges, Info};

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
pub struct Retry {
    pub attempts: u32,
    pub on: Vec<String>,
    pub buffer_bytes: usize,
    pub budget_percent: f64,
    pub timeout_seconds: f64,
    /// The least pause before the first further try; doubled for each one after that, up to ten times.
    pub backoff_seconds: f64,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            attempts: 2,
            on: vec!["connect".to_owned(), "reset".to_owned()],
            buffer_bytes: 65536,
            budget_percent: 20.0,
            timeout_seconds: 0.0,
            backoff_seconds: 0.0,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Timeouts {
    pub connect_seconds: f64,
    /// Of these three: what is not told has the Listener's default where there is one; 0: for ever.
    pub request_seconds: Option<f64>,
    pub idle_seconds: Option<f64>,
    pub backend_request_seconds: Option<f64>,
    pub connection_age_seconds: f64,
}

impl Timeouts {
    /// How long all of a request may take; 0: for ever.
    pub fn request(&self) -> f64 {
        self.request_seconds.unwrap_or(0.0)
    }

    /// How long nothing may move; 0: for ever, or as others say.
    pub fn idle(&self) -> f64 {
        self.idle_seconds.unwrap_or(0.0)
    }

    /// How long a backend may take to begin its answer, within the request's own time; `None`: as the Listener says.
    pub fn answer(&self) -> Option<f64> {
        self.backend_request_seconds.or(self.idle_seconds).or(self.request_seconds.map(|_| 0.0))
    }

    /// How long it may be silent within an answer whose length it told.
    pub fn silence(&self) -> Option<f64> {
        let endless = |seconds: &f64| *seconds <= 0.0;
        self.idle_seconds.or(self.request_seconds.or(self.backend_request_seconds).filter(endless))
    }
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect_seconds: 5.0,
            request_seconds: None,
            idle_seconds: None,
            backend_request_seconds: None,
            connection_age_seconds: 0.0,
        }
    }
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
    pub balanced: bool,
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
            balanced: Default::default(),
            change_on_failure: true,
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
    pub service: String,
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
            service: Default::default(),
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
    /// Names and URIs of which the certificate must have one; without any it must be for `server_name`.
    pub names: Vec<String>,
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
    pub proxy_protocol: u8,
    pub request_headers: Option<HeaderChanges>,
    pub response_headers: Option<HeaderChanges>,
    pub zone: String,
    pub node: String,
    pub spill_factor: f64,
    pub load_bound: f64,
    #[serde(rename = "virtual")]
    pub virtuals: Vec<Virtual>,
    pub resolve: String,
    pub resolve_local: bool,
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
            proxy_protocol: 0,
            request_headers: Default::default(),
            response_headers: Default::default(),
            zone: Default::default(),
            node: Default::default(),
            spill_factor: 10.0,
            load_bound: 0.0,
            virtuals: Default::default(),
            resolve: Default::default(),
            resolve_local: Default::default(),
            hold: Default::default(),
            info: Default::default(),
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
    pub node: String,
    pub state: EndpointState,
    pub name: String,
    /// What DNS calls it below a headless Service, where the pod says so itself.
    pub hostname: String,
}

impl Default for Endpoint {
    fn default() -> Self {
        Self {
            address: Default::default(),
            port: 0,
            weight: 1,
            zone: Default::default(),
            node: Default::default(),
            state: EndpointState::Ready,
            name: Default::default(),
            hostname: Default::default(),
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
