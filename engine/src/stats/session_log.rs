//! Lines of the access log for what is no request: TCP and TLS connections, UDP sessions.
//!
//! Promises: a line when it has ended, whatever ended it; without an endpoint the line says why. Datagrams for which there was no
//! session have none: they may be a flood.

use std::net::SocketAddr;
use std::sync::Arc;

use super::access_log::{Log, now};
use crate::worker::clock;

/// One under way; its line is written when it is dropped.
pub struct Record {
    log: Arc<Log>,
    drawn: bool,
    started: u64,
    protocol: &'static str,
    client: SocketAddr,
    /// What a TLS client asked for.
    pub name: String,
    pub backend: String,
    pub endpoint: Option<SocketAddr>,
    pub attempts: u32,
    /// From the client, and to it.
    pub bytes: (u64, u64),
    /// What went wrong.
    pub reason: &'static str,
}

impl Record {
    /// `None`: it will not be written, whatever comes of it.
    pub fn begin(log: Option<&Arc<Log>>, protocol: &'static str, client: SocketAddr, seed: u64) -> Option<Box<Self>> {
        let log = log?;
        let drawn = log.draws(seed);
        (drawn || log.wants_errors()).then(|| {
            Box::new(Self {
                log: log.clone(),
                drawn,
                started: clock::now_nanos(),
                protocol,
                client: SocketAddr::new(client.ip().to_canonical(), client.port()),
                name: String::new(),
                backend: String::new(),
                endpoint: None,
                attempts: 0,
                bytes: (0, 0),
                reason: "",
            })
        })
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        if !self.drawn && self.reason.is_empty() {
            return;
        }
        let seconds = clock::now_nanos().saturating_sub(self.started) as f64 / 1e9;
        let mut line = serde_json::json!({
            "time": now(), "listener": self.log.listener(), "client": self.client.ip().to_string(),
            "client_port": self.client.port(), "protocol": self.protocol, "bytes_in": self.bytes.0,
            "bytes_out": self.bytes.1, "seconds": (seconds * 1e6).round() / 1e6,
        });
        for (name, text) in [("name", self.name.as_str()), ("backend", &self.backend), ("reason", self.reason)] {
            if !text.is_empty() {
                line[name] = text.into();
            }
        }
        if let Some(endpoint) = self.endpoint {
            line["endpoint"] = endpoint.to_string().into();
        }
        if self.attempts > 0 {
            line["attempts"] = self.attempts.into();
        }
        self.log.put(&line);
    }
}
