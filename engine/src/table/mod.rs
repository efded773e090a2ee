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
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use tokio::sync::Notify;

use crate::control::objects;
use crate::dns::zone::Zone;
use crate::http::claim::Trust;
use crate::stats::access_log::Log;
use crate::stats::counters::{Codes, Counter};
use crate::tls::peer::Names;
use crate::worker::context::Closing;

#[derive(Clone)]
pub struct Listener {
    pub spec: Arc<objects::Listener>,
    pub http: Arc<objects::HttpSettings>,
    pub log: Option<Arc<Log>>,
    /// Whose claims about the client are believed.
    pub trust: Arc<Trust>,
    pub router: router::Router,
    pub backend: Option<Arc<backend::Backend>>,
    /// What an https Listener shows; `None` while it has no certificate.
    pub tls: Option<Arc<rustls::ServerConfig>>,
    /// And where Routes want client certificates: the names, and what is shown there.
    pub asking: Option<(Arc<Names>, Arc<rustls::ServerConfig>)>,
    /// The names whose TLS is not ended here.
    pub passing: Option<Arc<Names>>,
    pub counters: Arc<ListenerCounters>,
}

#[derive(Default)]
pub struct ListenerCounters {
    pub connections: Counter,
    pub codes: Codes,
    pub bad_requests: Counter,
    /// Requests of HTTP/2 whose trailers came unannounced behind a body of known length, for a server of HTTP/1.1.
    pub trailers_dropped: Counter,
    /// UDP sessions that made room for others.
    pub evicted: Counter,
    pub guests: Guests,
}

/// The clients that came in by a Listener and have not gone, whatever has become of it since.
#[derive(Default)]
pub struct Guests {
    count: AtomicUsize,
    /// Set once they are seen out; whom to tell that the last one has gone.
    leaving: OnceLock<Arc<Notify>>,
    idle_close: AtomicBool,
}

impl Guests {
    pub fn come(&self) {
        self.count.fetch_add(1, Ordering::AcqRel);
    }

    pub fn go(&self) {
        if self.count.fetch_sub(1, Ordering::AcqRel) == 1
            && let Some(told) = self.leaving.get()
        {
            told.notify_one();
        }
    }

    pub fn count(&self) -> usize {
        self.count.load(Ordering::Acquire)
    }

    /// From now on each is told to go with its next answer.
    pub fn see_out(&self, told: &Arc<Notify>) {
        let _ = self.leaving.set(told.clone());
    }

    /// Who is idle is let go, too.
    pub fn close_idle(&self) {
        self.idle_close.store(true, Ordering::Release);
    }

    pub fn closing(&self) -> Closing {
        match self.leaving.get() {
            None => Closing::No,
            Some(_) if self.idle_close.load(Ordering::Acquire) => Closing::Now,
            Some(_) => Closing::Gently,
        }
    }
}

#[derive(Default)]
pub struct Table {
    /// By the id of the socket that it listens on.
    pub by_socket: HashMap<String, Arc<Listener>>,
    pub virtuals: Arc<Virtuals>,
    /// What DNS answers.
    pub zone: Arc<Zone>,
}

/// The addresses that Services have, for transparent Listeners. An entry stands for the Backend alone.
#[derive(Default)]
pub struct Virtuals {
    /// Under `::` are the ports that every IPv6 address of the node has.
    pub by_address: HashMap<SocketAddr, Arc<router::Entry>>,
    /// By the ports that every IPv4 address of the node has.
    pub by_node_port: HashMap<u16, Arc<router::Entry>>,
}

impl Table {
    pub fn at(&self, destination: SocketAddr) -> Option<&Arc<router::Entry>> {
        let destination = SocketAddr::new(destination.ip().to_canonical(), destination.port());
        let virtuals = &self.virtuals;
        virtuals.by_address.get(&destination).or_else(|| match destination {
            SocketAddr::V4(_) => virtuals.by_node_port.get(&destination.port()),
            SocketAddr::V6(_) => {
                virtuals.by_address.get(&SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), destination.port()))
            }
        })
    }
}
