//! Listeners, certificates and names.

use serde::{Deserialize, Serialize};

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

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AccessLog {
    pub share: f64,
    pub errors: bool,
    pub query: bool,
    pub headers: Vec<String>,
}

impl Default for AccessLog {
    fn default() -> Self {
        Self { share: 1.0, errors: true, query: false, headers: Vec::new() }
    }
}

/// What Backends are told of the client besides X-Forwarded-For, -Proto and -Host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Tell {
    Forwarded,
    RealIp,
    Port,
    Scheme,
    RequestId,
    OriginalUri,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HttpSettings {
    pub request_header_timeout_seconds: f64,
    pub idle_timeout_seconds: f64,
    pub response_timeout_seconds: f64,
    pub max_connection_age_seconds: f64,
    pub max_header_bytes: usize,
    pub max_headers: usize,
    pub max_body_bytes: u64,
    pub trusted_hops: u32,
    pub trusted_proxies: Vec<String>,
    pub client_header: String,
    /// Trusted proxies are believed who the client is, and nothing else.
    pub address_only: bool,
    pub tell: Vec<Tell>,
    pub access_log: Option<AccessLog>,
    pub h2c: bool,
}

impl Default for HttpSettings {
    fn default() -> Self {
        Self {
            request_header_timeout_seconds: 10.0,
            idle_timeout_seconds: 75.0,
            response_timeout_seconds: 60.0,
            max_connection_age_seconds: 0.0,
            max_header_bytes: 65536,
            max_headers: 100,
            max_body_bytes: 0,
            trusted_hops: 0,
            trusted_proxies: Default::default(),
            client_header: Default::default(),
            address_only: Default::default(),
            tell: Default::default(),
            access_log: Default::default(),
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
    /// Hosts whose TLS is passed on although there are certificates.
    pub passthrough: Vec<String>,
    pub transparent: bool,
    pub proxy_protocol_in: bool,
    pub http: Option<HttpSettings>,
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
