//! The routing table that threads work by: immutable, built from the objects of the control protocol.
//!
//! Promises: a `Table` never changes; what must live longer than one (endpoints, cursors, counts) is in `Arc`s that the
//! next one takes over.

pub mod backend;
pub mod carried;
pub mod endpoint;
pub mod route;
pub mod router;
pub mod store;

use std::collections::HashMap;
use std::sync::Arc;

use crate::control::objects;
use crate::stats::counters::{Codes, Counter};

pub struct Listener {
    pub spec: objects::Listener,
    pub http: objects::HttpSettings,
    pub router: router::Router,
    pub backend: Option<Arc<backend::Backend>>,
    pub counters: Arc<ListenerCounters>,
}

#[derive(Default)]
pub struct ListenerCounters {
    pub connections: Counter,
    pub codes: Codes,
    pub bad_requests: Counter,
}

#[derive(Default)]
pub struct Table {
    /// By the id of the socket that it listens on.
    pub by_socket: HashMap<String, Arc<Listener>>,
}
