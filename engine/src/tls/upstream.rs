//! TLS to backends: their own roots and name, a certificate of ours, or no verification where that is said.

use std::sync::Arc;

use rustls::client::danger::{ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, Error, RootCertStore};

use super::subject::OneOf;
use super::{ALPN_H2, ALPN_HTTP1, Identity, provider, roots};
use crate::control::objects::{BackendTls, Refusal};

/// Where the system keeps its roots.
const SYSTEM_ROOTS: [&str; 3] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];

#[derive(Clone)]
pub struct Upstream {
    pub config: Arc<ClientConfig>,
    /// The same for HTTP/1.1, whatever the Backend speaks.
    pub http1: Arc<ClientConfig>,
    /// "": the endpoint's address is the name.
    pub name: Option<ServerName<'static>>,
}

pub fn build(tls: &BackendTls, own: Option<&Identity>, h2: bool) -> Result<Upstream, Refusal> {
    let wrong = |path: &str, error: Error| Refusal::new(path, error.to_string());
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|e| wrong("tls", e))?;
    let builder = if tls.insecure {
        builder.dangerous().with_custom_certificate_verifier(Arc::new(Anyone))
    } else if tls.names.is_empty() {
        builder.with_root_certificates(trusted(tls)?)
    } else {
        let verifier = OneOf::new(trusted(tls)?, &tls.names)?;
        builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier))
    };
    let mut config = match own {
        Some(identity) => {
            let key = identity.key.clone();
            builder.with_client_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(key)))
        }
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![ALPN_HTTP1.to_vec()];
    let http1 = Arc::new(config.clone());
    let config = if h2 {
        config.alpn_protocols = vec![ALPN_H2.to_vec()];
        Arc::new(config)
    } else {
        http1.clone()
    };
    let name = match tls.server_name.as_str() {
        "" => None,
        name => Some(
            ServerName::try_from(name.to_owned())
                .map_err(|_| Refusal::new("tls.server_name", format!("{name:?} is not a name")))?,
        ),
    };
    Ok(Upstream { config, http1, name })
}

/// Its own roots, or the system's.
fn trusted(tls: &BackendTls) -> Result<RootCertStore, Refusal> {
    if !tls.ca_pem.is_empty() {
        return roots(&tls.ca_pem, "tls.ca_pem");
    }
    let pem = SYSTEM_ROOTS.iter().find_map(|path| std::fs::read_to_string(path).ok());
    let pem = pem.ok_or_else(|| Refusal::new("tls.ca_pem", "the system has no roots; name some"))?;
    roots(&pem, "tls.ca_pem")
}

/// Verifies that the peer has the key of the certificate it shows, and nothing about whose that is.
#[derive(Debug)]
struct Anyone;

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    super::proves_its_key!();
}
