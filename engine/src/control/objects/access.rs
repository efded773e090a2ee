//! Who may come in by a Route.

use serde::{Deserialize, Serialize};

use super::HeaderChanges;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CertificateMode {
    #[default]
    Required,
    Optional,
    OptionalNoCa,
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
