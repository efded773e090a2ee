//! TLS with rustls and ring: certificates by name, client certificates, TLS to backends.
//!
//! Promises: each new connection works by the newest table's certificates, those that are open stay; tickets of one worker
//! resume under every later table that asks for the same of clients; TLS 1.2 and 1.3 only. Refuses: a certificate whose PEM
//! or key is not sound.

/// What a verifier does that asks only whether the other side has the key of the certificate that it shows.
macro_rules! proves_its_key {
    () => {
        fn verify_tls12_signature(
            &self,
            message: &[u8],
            certificate: &rustls::pki_types::CertificateDer<'_>,
            signature: &rustls::DigitallySignedStruct,
        ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
            let algorithms = &$crate::tls::provider().signature_verification_algorithms;
            rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            certificate: &rustls::pki_types::CertificateDer<'_>,
            signature: &rustls::DigitallySignedStruct,
        ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
            let algorithms = &$crate::tls::provider().signature_verification_algorithms;
            rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
        }

        fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
            $crate::tls::provider().signature_verification_algorithms.supported_schemes()
        }
    };
}
use proves_its_key;

pub mod dn;
pub mod names;
pub mod peer;
pub mod subject;
pub mod upstream;

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ProducesTickets, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{RootCertStore, ServerConfig};
use sha2::{Digest, Sha256};

use crate::control::objects::{self, Refusal};

const MOST_TICKET_KEYS: usize = 256;
pub const ALPN_H2: &[u8] = b"h2";
pub const ALPN_HTTP1: &[u8] = b"http/1.1";

pub fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| Arc::new(ring::default_provider()));
    PROVIDER.clone()
}

/// One ticket key of the process for each demand: resumption survives every change of the table, but a resumed client is not
/// asked for its certificate again, so a ticket must not be good where more is asked, or others are trusted, than where it
/// was made (as CVE-2025-23419).
fn tickets(asks: Asks<'_>) -> Option<Arc<dyn ProducesTickets>> {
    static TICKETS: Mutex<BTreeMap<[u8; 32], Arc<dyn ProducesTickets>>> = Mutex::new(BTreeMap::new());
    let mut known = TICKETS.lock().unwrap_or_else(PoisonError::into_inner);
    let demand = match asks {
        Asks::Nobody => [0; 32],
        Asks::Anybody => [1; 32],
        Asks::Signed(client_ca) => Sha256::digest(client_ca).into(),
    };
    if let Some(tickets) = known.get(&demand) {
        return Some(tickets.clone());
    }
    if known.len() >= MOST_TICKET_KEYS {
        known.pop_first(); // Listeners that have it keep it
    }
    let tickets = ring::Ticketer::new().ok()?;
    known.insert(demand, tickets.clone());
    Some(tickets)
}

/// A certificate that can be shown, and the names it is for.
pub struct Identity {
    pub key: Arc<CertifiedKey>,
    pub names: Vec<String>,
}

pub fn parse_chain(pem: &str, path: &str) -> Result<Vec<CertificateDer<'static>>, Refusal> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    match chain {
        Ok(chain) if !chain.is_empty() => Ok(chain),
        Ok(_) => Err(Refusal::new(path, "there is no certificate in it")),
        Err(error) => Err(Refusal::new(path, format!("it is not PEM: {error}"))),
    }
}

impl Identity {
    pub fn parse(spec: &objects::Certificate) -> Result<Self, Refusal> {
        let chain = parse_chain(&spec.chain_pem, "chain_pem")?;
        let key = PrivateKeyDer::from_pem_slice(spec.key_pem.as_bytes())
            .map_err(|_| Refusal::new("key_pem", "there is no private key in it"))?;
        let certified = CertifiedKey::from_der(chain, key, &provider())
            .map_err(|error| Refusal::new("key_pem", format!("it does not fit the certificate: {error}")))?;
        let names = webpki::EndEntityCert::try_from(&certified.cert[0])
            .map(|cert| cert.valid_dns_names().map(str::to_ascii_lowercase).collect())
            .map_err(|error| Refusal::new("chain_pem", error.to_string()))?;
        Ok(Self { key: Arc::new(certified), names })
    }
}

pub fn roots(pem: &str, path: &str) -> Result<RootCertStore, Refusal> {
    let mut roots = RootCertStore::empty();
    for certificate in parse_chain(pem, path)? {
        roots.add(certificate).map_err(|error| Refusal::new(path, error.to_string()))?;
    }
    Ok(roots)
}

/// For which client certificates a handshake asks.
#[derive(Debug, Clone, Copy)]
pub enum Asks<'a> {
    Nobody,
    /// One that is signed by these; without it there is no connection.
    Signed(&'a str),
    /// Any, or none: the Routes judge it.
    Anybody,
}

/// What an https Listener shows and asks for.
pub fn server(identities: &[Arc<Identity>], asks: Asks<'_>, http: bool) -> Result<Arc<ServerConfig>, Refusal> {
    let builder = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| Refusal::new("", error.to_string()))?;
    let builder = match asks {
        Asks::Nobody => builder.with_no_client_auth(),
        Asks::Anybody => builder.with_client_cert_verifier(Arc::new(peer::Anybody)),
        Asks::Signed(client_ca) => {
            let roots = Arc::new(roots(client_ca, "client_ca")?);
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider())
                .build()
                .map_err(|error| Refusal::new("client_ca", error.to_string()))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let mut config = builder.with_cert_resolver(Arc::new(names::ByName::build(identities)));
    if let Some(tickets) = tickets(asks) {
        config.ticketer = tickets;
    }
    if http {
        config.alpn_protocols = vec![ALPN_H2.to_vec(), ALPN_HTTP1.to_vec()];
    }
    Ok(Arc::new(config))
}
