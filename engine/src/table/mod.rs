//! The routing table that threads work by: immutable, built from the objects of the control protocol.
//!
//! Promises: a `Table` never changes; what must live longer than one (endpoints, cursors, counts) is in `Arc`s that the
//! next one takes over.

pub mod backend;
pub mod basic;
pub mod carried;
pub mod endpoint;
pub mod external;
pub mod limiter;
pub mod names;
pub mod network;
pub mod password;
pub mod route;
pub mod router;
pub mod rules;
pub mod store;
pub mod template;
pub mod verified;
pub mod waiting;

use std::collections::HashMap;
use std::net::{Ipv6Addr, SocketAddr};
use std::sync::Arc;

use crate::control::objects;
use crate::dns::zone::Zone;
use crate::http::claim::Trust;
use crate::stats::access_log::Log;
use crate::stats::counters::{Codes, Counter};
use crate::tls::peer::Names;

pub struct Listener {
    pub spec: objects::Listener,
    pub http: objects::HttpSettings,
    pub log: Option<Arc<Log>>,
    /// Whose claims about the client are believed.
    pub trust: Trust,
    pub router: router::Router,
    pub backend: Option<Arc<backend::Backend>>,
    /// What an https Listener shows; `None` while it has no certificate.
    pub tls: Option<Arc<rustls::ServerConfig>>,
    /// And where Routes want client certificates: the names, and what is shown there.
    pub asking: Option<(Names, Arc<rustls::ServerConfig>)>,
    pub counters: Arc<ListenerCounters>,
}

#[derive(Default)]
pub struct ListenerCounters {
    pub connections: Counter,
    pub codes: Codes,
    pub bad_requests: Counter,
    /// UDP sessions that made room for others.
    pub evicted: Counter,
}

#[derive(Default)]
pub struct Table {
    /// By the id of the socket that it listens on.
    pub by_socket: HashMap<String, Arc<Listener>>,
    /// By the addresses that Services have, for transparent Listeners. An entry stands for the Backend alone. Under `::` are
    /// the ports that every IPv6 address of the node has.
    pub by_virtual: HashMap<SocketAddr, Arc<router::Entry>>,
    /// By the ports that every IPv4 address of the node has.
    pub by_node_port: HashMap<u16, Arc<router::Entry>>,
    /// What DNS answers.
    pub zone: Arc<Zone>,
}

impl Table {
    pub fn at(&self, destination: SocketAddr) -> Option<&Arc<router::Entry>> {
        let destination = SocketAddr::new(destination.ip().to_canonical(), destination.port());
        self.by_virtual.get(&destination).or_else(|| match destination {
            SocketAddr::V4(_) => self.by_node_port.get(&destination.port()),
            SocketAddr::V6(_) => {
                self.by_virtual.get(&SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), destination.port()))
            }
        })
    }
}
