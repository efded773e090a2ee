//! Client certificates by Route: the handshake asks for one and proves that the client has its key; whose it is, and whether
//! that suffices, each Route decides for itself by the certificates that it trusts.
//!
//! Promises: what a Route decides never depends on the name that the handshake was made for (SNI): a request over a connection
//! that was not asked gets a 421 and may come again by its own name. A verdict is remembered for its connection.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use base64::Engine;
use regex::bytes::Regex;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DistinguishedName, Error, RootCertStore};

use super::{dn, provider, roots};
use crate::control::objects::{self, CertificateMode, Refusal};
use crate::http::path;
use crate::table::route;
use crate::table::template::Template;

static NEXT_ID: AtomicU64 = AtomicU64::new(1);

/// What Backends are told; what a client sends under these names is removed.
pub const FIELDS: [&str; 4] = ["ssl-client-verify", "ssl-client-subject-dn", "ssl-client-issuer-dn", "ssl-client-cert"];

/// What is known of a connection's other end.
#[derive(Clone, Default)]
pub enum Peer {
    #[default]
    Plain,
    /// TLS, but for a name at which nobody asks for a certificate.
    NotAsked,
    Asked(Rc<Shown>),
}

/// What a client has shown; its verdicts by the Routes' rules.
pub struct Shown {
    chain: Vec<CertificateDer<'static>>,
    verdicts: RefCell<Vec<(u64, Rc<Verdict>)>>,
}

impl Shown {
    pub fn new(chain: &[CertificateDer<'_>]) -> Rc<Self> {
        let chain = chain.iter().map(|c| c.clone().into_owned()).collect();
        Rc::new(Self { chain, verdicts: RefCell::default() })
    }
}

/// A Route's rule, compiled.
pub struct Rule {
    id: u64,
    spec: objects::ClientCertificate,
    roots: RootCertStore,
    name: Option<Regex>,
    pub error_page: Template,
}

pub struct Verdict {
    /// Lines for the Backend.
    pub lines: Vec<u8>,
    pub denied: Option<(u16, &'static str)>,
}

impl Verdict {
    fn denied(status: u16, reason: &'static str) -> Rc<Self> {
        Rc::new(Self { lines: Vec::new(), denied: Some((status, reason)) })
    }
}

impl Rule {
    pub fn compile(spec: &objects::ClientCertificate) -> Result<Self, Refusal> {
        let name = match spec.match_cn.as_str() {
            "" => None,
            // As with nginx' $ssl_client_s_dn ~ CN=…: from the name's beginning, not to its end.
            expression => Some(route::build(&format!("^(?:{expression})"), false, "access.certificate.match_cn")?),
        };
        Ok(Self {
            id: NEXT_ID.fetch_add(1, Relaxed),
            roots: roots(&spec.ca_pem, "access.certificate.ca_pem")?,
            error_page: Template::compile(&spec.error_page, "access.certificate.error_page")?,
            name,
            spec: spec.clone(),
        })
    }

    pub fn judge(&self, peer: &Peer) -> Rc<Verdict> {
        let shown = match peer {
            Peer::Plain => return Verdict::denied(400, "a client certificate is needed, over TLS"),
            Peer::NotAsked => return Verdict::denied(421, "this connection was made for another name"),
            Peer::Asked(shown) => shown,
        };
        if let Some((_, known)) = shown.verdicts.borrow().iter().find(|(id, _)| *id == self.id) {
            return known.clone();
        }
        let verdict = Rc::new(self.verdict(&shown.chain));
        let mut verdicts = shown.verdicts.borrow_mut();
        if verdicts.len() >= 16 {
            verdicts.clear();
        }
        verdicts.push((self.id, verdict.clone()));
        verdict
    }

    fn verdict(&self, chain: &[CertificateDer<'_>]) -> Verdict {
        let denied = |status, reason| Verdict { lines: Vec::new(), denied: Some((status, reason)) };
        let Some((own, between)) = chain.split_first() else {
            if self.spec.mode == CertificateMode::Required {
                return denied(400, "no required client certificate was sent");
            }
            if self.name.is_some() {
                return denied(403, "this client certificate may not come in");
            }
            return Verdict { lines: b"ssl-client-verify: NONE\r\n".to_vec(), denied: None };
        };
        let Ok(certificate) = webpki::EndEntityCert::try_from(own) else {
            return denied(400, "the client certificate is malformed");
        };
        let verified = self.verify(&certificate, between);
        if verified.is_err() && !(verified == Err(Trouble::Issuer) && self.spec.mode == CertificateMode::OptionalNoCa) {
            return denied(400, "the client certificate is not trusted here");
        }
        let common = dn::common_name(certificate.subject()).unwrap_or_default();
        if self.name.as_ref().is_some_and(|name| !name.is_match(&common)) {
            return denied(403, "this client certificate may not come in");
        }
        let word = if verified.is_ok() { "SUCCESS" } else { "FAILED:its issuer is not known" };
        let (subject, issuer) = (dn::render(certificate.subject()), dn::render(certificate.issuer()));
        let mut lines = format!(
            "ssl-client-verify: {word}\r\nssl-client-subject-dn: {subject}\r\nssl-client-issuer-dn: {issuer}\r\n"
        )
        .into_bytes();
        if self.spec.forward {
            lines.extend_from_slice(b"ssl-client-cert: ");
            escape_pem(own, &mut lines);
            lines.extend_from_slice(b"\r\n");
        }
        Verdict { lines, denied: None }
    }

    fn verify(&self, certificate: &webpki::EndEntityCert<'_>, between: &[CertificateDer<'_>]) -> Result<(), Trouble> {
        let provider = provider();
        let usage = webpki::KeyUsage::client_auth();
        let algorithms = provider.signature_verification_algorithms.all;
        let path = certificate
            .verify_for_usage(algorithms, &self.roots.roots, between, UnixTime::now(), usage, None, None)
            .map_err(|error| match error {
                webpki::Error::UnknownIssuer | webpki::Error::CaUsedAsEndEntity => Trouble::Issuer,
                _ => Trouble::Other,
            })?;
        // As OpenSSL counts: neither the client's own nor the trusted one.
        if path.intermediate_certificates().count() > self.spec.depth as usize { Err(Trouble::Other) } else { Ok(()) }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trouble {
    Issuer,
    Other,
}

/// A certificate as PEM, percent-encoded (nginx' $ssl_client_escaped_cert).
fn escape_pem(certificate: &[u8], out: &mut Vec<u8>) {
    let body = base64::engine::general_purpose::STANDARD.encode(certificate);
    let lines: Vec<_> = body.as_bytes().chunks(64).collect();
    let pem = [&b"-----BEGIN CERTIFICATE-----\n"[..], &lines.join(&b'\n'), b"\n-----END CERTIFICATE-----\n"].concat();
    let mut escaped = Vec::with_capacity(pem.len() + 128);
    path::encode(&pem, &mut escaped);
    for byte in escaped {
        match byte {
            b'+' | b'/' | b'=' => out.extend_from_slice(format!("%{byte:02X}").as_bytes()),
            _ => out.push(byte),
        }
    }
}

/// Asks for a certificate and takes any, or none: the Routes judge it.
#[derive(Debug)]
pub struct Anybody;

impl ClientCertVerifier for Anybody {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Ok(ClientCertVerified::assertion())
    }

    super::proves_its_key!();
}

/// The names at which a certificate is asked for: the hosts of the Routes that want one.
#[derive(Debug, Default)]
pub struct Names {
    exact: std::collections::HashSet<String>,
    /// Suffixes with their dot: of one label, and of one or more.
    one_label: std::collections::HashSet<String>,
    labels: std::collections::HashSet<String>,
    any: bool,
}

impl Names {
    pub fn add(&mut self, hosts: &[String]) {
        self.any |= hosts.is_empty();
        for host in hosts {
            let host = host.to_ascii_lowercase();
            match (host.strip_prefix("**"), host.strip_prefix('*')) {
                (Some(suffix), _) => drop(self.labels.insert(suffix.to_owned())),
                (_, Some("")) => self.any = true,
                (_, Some(suffix)) => drop(self.one_label.insert(suffix.to_owned())),
                _ => drop(self.exact.insert(host)),
            }
        }
    }

    pub fn is_empty(&self) -> bool {
        !self.any && self.exact.is_empty() && self.one_label.is_empty() && self.labels.is_empty()
    }

    pub fn cover(&self, name: &str) -> bool {
        let name = name.to_ascii_lowercase();
        let mut suffixes = name.char_indices().filter(|&(at, c)| c == '.' && at > 0).map(|(at, _)| &name[at..]);
        self.any
            || self.exact.contains(&name)
            || suffixes.clone().next().is_some_and(|suffix| self.one_label.contains(suffix))
            || suffixes.any(|suffix| self.labels.contains(suffix))
    }
}
