//! Backends whose endpoints are a name's addresses (`resolve`: an ExternalName, a URL's host): one task each, on the control
//! thread.
//!
//! Promises: a name is asked again when its records' time is over (5 s to 5 min), at once when it is new; while nobody answers
//! the addresses of before stay. Refuses, unless `resolve_local` allows it: addresses of this machine and of its surroundings
//! (loopback, link-local and with it the clouds' metadata, unspecified, multicast), so that whoever owns a name cannot point it
//! at what only this machine may reach (DNS rebinding). The cluster's own names may have any address.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::rc::Rc;
use std::time::Duration;

use tokio::task::{AbortHandle, spawn_local};

use super::checks::Checks;
use crate::control::objects;
use crate::control::wire::Event;
use crate::dns::{Addresses, Server};
use crate::health::Report;
use crate::table::store::Store;

const SHORTEST: u32 = 5;
const LONGEST: u32 = 300;

/// Metadata services at addresses that are not link-local.
const METADATA: [IpAddr; 3] = [
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V4(Ipv4Addr::new(192, 0, 0, 192)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
];

/// Would it reach this machine itself, or what is meant for it alone?
pub fn forbidden(address: IpAddr) -> bool {
    let address = address.to_canonical();
    let near = match address {
        IpAddr::V4(v4) => v4.is_link_local() || v4.octets()[0] == 0 || v4.is_broadcast(),
        // Also IPv4 in its other clothes: ::a.b.c.d and 64:ff9b::a.b.c.d.
        IpAddr::V6(v6) => {
            let [a, b, .., high, low] = v6.segments();
            let inner = Ipv4Addr::from(u32::from(high) << 16 | u32::from(low));
            let embedded = v6.segments()[..6] == [0; 6] || v6.segments()[..6] == [0x64, 0xff9b, 0, 0, 0, 0];
            a & 0xffc0 == 0xfe80 || (embedded && (a, b, high) != (0, 0, 0) && forbidden(inner.into()))
        }
    };
    near || address.is_loopback() || address.is_unspecified() || address.is_multicast() || METADATA.contains(&address)
}

pub struct Resolver {
    running: RefCell<HashMap<String, (Target, AbortHandle)>>,
    server: Rc<Server>,
    store: Rc<RefCell<Store>>,
    checks: Rc<Checks>,
    report: Report,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Target {
    name: String,
    port: u16,
    local: bool,
}

/// `NAME:PORT`; the name in lower case, without its last dot.
pub fn parse(text: &str) -> Option<(String, u16)> {
    let (name, port) = text.rsplit_once(':')?;
    let name = name.trim_start_matches('[').trim_end_matches(']').trim_end_matches('.').to_ascii_lowercase();
    Some((name, port.parse().ok().filter(|p| *p > 0)?)).filter(|(name, _)| !name.is_empty() && name.len() <= 253)
}

impl Resolver {
    pub fn new(store: Rc<RefCell<Store>>, checks: Rc<Checks>, report: Report) -> Rc<Self> {
        let names = store.clone();
        let server = Server::new(Rc::new(move || names.borrow().zone()), u64::from(std::process::id()) ^ 0x7e50);
        Rc::new(Self { running: RefCell::default(), server, store, checks, report })
    }

    /// Starts and stops tasks so that they fit the store.
    pub fn follow(self: &Rc<Self>) {
        let mut wanted = HashMap::new();
        for backend in self.store.borrow().backends().filter(|b| !b.spec.resolve.is_empty()) {
            let Some((name, port)) = parse(&backend.spec.resolve) else { continue };
            wanted.insert(backend.spec.id.clone(), Target { name, port, local: backend.spec.resolve_local });
        }
        let mut running = self.running.borrow_mut();
        running.retain(|id, (target, task)| {
            let keep = wanted.get(id) == Some(target);
            if !keep {
                task.abort();
            }
            keep
        });
        for (id, target) in wanted {
            running.entry(id.clone()).or_insert_with(|| {
                let task = spawn_local(self.clone().keep(id, target.clone()));
                (target, task.abort_handle())
            });
        }
    }

    async fn keep(self: Rc<Self>, backend: String, target: Target) {
        let mut told = Vec::new();
        loop {
            let mut seconds = SHORTEST;
            if let Some(found) = self.addresses(&target).await {
                seconds = found.ttl_seconds.clamp(SHORTEST, LONGEST);
                let refused = |a: &IpAddr| !found.ours && !target.local && forbidden(*a);
                let bad: Vec<_> = found.list.iter().copied().filter(refused).collect();
                if bad != told {
                    bad.iter().for_each(|address| self.tell(&backend, *address, &target));
                    told = bad;
                }
                let good = found.list.iter().filter(|a| !refused(a));
                let endpoints: Vec<_> = good
                    .map(|address| objects::Endpoint {
                        address: address.to_string(),
                        port: target.port,
                        name: target.name.clone(),
                        ..objects::Endpoint::default()
                    })
                    .collect();
                self.store.borrow_mut().set_resolved(&backend, &endpoints);
                self.checks.follow(&self.store.borrow());
            }
            tokio::time::sleep(Duration::from_secs(u64::from(seconds))).await;
        }
    }

    async fn addresses(&self, target: &Target) -> Option<Addresses> {
        match target.name.parse::<IpAddr>() {
            Ok(address) => Some(Addresses { list: vec![address], ttl_seconds: LONGEST, ours: false }),
            Err(_) => self.server.addresses(&target.name).await,
        }
    }

    fn tell(&self, backend: &str, address: IpAddr, target: &Target) {
        let reason =
            format!("{} is an address of this machine or its surroundings: a name may not lead there", target.name);
        let (backend, address, state) = (backend.to_owned(), address.to_string(), "ejected".to_owned());
        let _ = self.report.send(Event::Endpoint { backend, address, port: target.port, state, reason });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_not_lead_to_this_machine() {
        for bad in [
            "127.0.0.1",
            "127.8.8.8",
            "0.0.0.0",
            "0.1.2.3",
            "169.254.169.254",
            "100.100.100.200",
            "224.0.0.1",
            "255.255.255.255",
            "::1",
            "::",
            "::ffff:127.0.0.1",
            "fe80::1",
            "ff02::1",
            "fd00:ec2::254",
            "64:ff9b::7f00:1",
            "::7f00:1",
        ] {
            assert!(forbidden(bad.parse().unwrap()), "{bad}");
        }
        for good in ["10.0.0.1", "9.9.9.9", "192.168.1.1", "2001:db8::1", "fd00::1", "64:ff9b::909:909"] {
            assert!(!forbidden(good.parse().unwrap()), "{good}");
        }
    }

    #[test]
    fn targets_are_a_name_and_a_port() {
        assert_eq!(parse("Example.org.:80"), Some(("example.org".to_owned(), 80)));
        assert_eq!(parse("[fd00::1]:443"), Some(("fd00::1".to_owned(), 443)));
        assert!(["", ":80", "a", "a:", "a:0", "a:70000", "a:x"].iter().all(|bad| parse(bad).is_none()));
    }
}
