//! Whose certificate a backend must show, where that is not the name that it is asked for.
//!
//! Promises: it is of one of the roots and of today, and one of its subject alternative names is one of those given: a DNS name, an
//! address, or a URI (compared as text, as SPIFFE ids are). The name asked for (SNI) plays no part.

use rustls::client::danger::{ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, Error, RootCertStore};
use webpki::EndEntityCert;

use crate::control::objects::Refusal;

#[derive(Debug)]
pub struct OneOf {
    roots: RootCertStore,
    names: Vec<ServerName<'static>>,
    uris: Vec<String>,
}

impl OneOf {
    /// `wanted`: names, addresses and URIs.
    pub fn new(roots: RootCertStore, wanted: &[String]) -> Result<Self, Refusal> {
        let (uris, names): (Vec<_>, Vec<_>) = wanted.iter().cloned().partition(|one| one.contains("://"));
        let names = names.into_iter().map(|name| {
            ServerName::try_from(name.clone())
                .map_err(|_| Refusal::new("tls.names", format!("{name:?} is neither a name nor a URI")))
        });
        Ok(Self { roots, names: names.collect::<Result<_, _>>()?, uris })
    }
}

impl ServerCertVerifier for OneOf {
    fn verify_server_cert(
        &self,
        shown: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let certificate = ParsedCertificate::try_from(shown)?;
        let algorithms = super::provider().signature_verification_algorithms.all;
        verify_server_cert_signed_by_trust_anchor(&certificate, &self.roots, intermediates, now, algorithms)?;
        let is_named = self.names.iter().any(|name| verify_server_name(&certificate, name).is_ok());
        let has_uri = || {
            let Ok(parsed) = EndEntityCert::try_from(shown) else { return false };
            parsed.valid_uri_names().any(|uri| self.uris.iter().any(|wanted| wanted == uri))
        };
        if is_named || has_uri() {
            return Ok(ServerCertVerified::assertion());
        }
        Err(Error::InvalidCertificate(CertificateError::NotValidForName))
    }

    super::proves_its_key!();
}
