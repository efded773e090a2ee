//! Which certificate a client is shown: by the name that it asks for (SNI), else the Listener's first.

use std::collections::HashMap;
use std::sync::Arc;

use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::Identity;

#[derive(Debug, Default)]
pub struct ByName {
    exact: HashMap<String, Arc<CertifiedKey>>,
    /// By the part after `*.`.
    wildcard: HashMap<String, Arc<CertifiedKey>>,
    first: Option<Arc<CertifiedKey>>,
}

impl ByName {
    /// Of several certificates for one name, the first of the list is shown.
    pub fn build(identities: &[Arc<Identity>]) -> Self {
        let mut by_name = Self { first: identities.first().map(|i| i.key.clone()), ..Self::default() };
        for identity in identities {
            for name in &identity.names {
                let (map, name) = match name.strip_prefix("*.") {
                    Some(rest) => (&mut by_name.wildcard, rest),
                    None => (&mut by_name.exact, name.as_str()),
                };
                map.entry(name.to_owned()).or_insert_with(|| identity.key.clone());
            }
        }
        by_name
    }

    fn find(&self, name: &str) -> Option<&Arc<CertifiedKey>> {
        let name = name.to_ascii_lowercase();
        self.exact.get(&name).or_else(|| self.wildcard.get(name.split_once('.')?.1))
    }
}

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        hello.server_name().and_then(|name| self.find(name)).or(self.first.as_ref()).cloned()
    }
}
