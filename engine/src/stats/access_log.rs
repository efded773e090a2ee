//! The access log: a line of JSON for a request (for connections and sessions see `session_log`), kept until somebody reads it (`GET /log`).
//!
//! Promises: no request ever waits for a reader; at most `MOST_BYTES` wait, lines beyond that are dropped and counted. What is
//! secret by its nature is not in it: no query unless asked for, no bodies, and never the headers of `SECRET`.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

use super::counters::Counter;
use crate::balance::random;
use crate::control::objects::{self, Refusal};
use crate::http::field;
use crate::http::understand::Surroundings;
use crate::table::router::Request;
use crate::worker::clock;

const MOST_BYTES: usize = 4 << 20;
/// Of a path or a header's value, so much is written.
const MOST_TEXT: usize = 1024;
const SECRET: [&str; 8] = [
    "authorization",
    "proxy-authorization",
    "cookie",
    "set-cookie",
    "x-api-key",
    "x-auth-token",
    "x-csrf-token",
    "ssl-client-cert",
];

/// Lines that wait for a reader.
#[derive(Default)]
pub struct Lines {
    waiting: Mutex<Vec<u8>>,
    some: Notify,
    pub written: Counter,
    pub dropped: Counter,
}

impl Lines {
    fn push(&self, line: &[u8]) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.len() + line.len() > MOST_BYTES {
            self.dropped.add(1);
            return;
        }
        let first = waiting.is_empty();
        waiting.extend_from_slice(line);
        drop(waiting);
        self.written.add(1);
        if first {
            self.some.notify_one();
        }
    }

    /// What has come, once there is some.
    pub async fn take(&self) -> Vec<u8> {
        loop {
            let taken = std::mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner));
            if !taken.is_empty() {
                return taken;
            }
            self.some.notified().await;
        }
    }
}

/// What one Listener logs.
pub struct Log {
    spec: objects::AccessLog,
    listener: String,
    lines: Arc<Lines>,
}

pub fn check(spec: &objects::AccessLog) -> Result<(), Refusal> {
    let wrong = |name: &String| !field::is_name(name) || SECRET.iter().any(|s| name.eq_ignore_ascii_case(s));
    if let Some(i) = spec.headers.iter().position(wrong) {
        let path = format!("http.access_log.headers[{i}]");
        return Err(Refusal::new(path, format!("{:?} is a secret, or no field's name", spec.headers[i])));
    }
    if !(0.0..=1.0).contains(&spec.share) {
        return Err(Refusal::new("http.access_log.share", "it is from 0 to 1"));
    }
    Ok(())
}

impl Log {
    pub fn new(spec: &objects::AccessLog, listener: &str, lines: &Arc<Lines>) -> Self {
        Self { spec: spec.clone(), listener: listener.to_owned(), lines: lines.clone() }
    }

    pub fn listener(&self) -> &str {
        &self.listener
    }

    pub fn wants_errors(&self) -> bool {
        self.spec.errors
    }

    pub fn put(&self, line: &serde_json::Value) {
        self.lines.push(format!("{line}\n").as_bytes());
    }

    /// Is this one of the share that is written?
    pub fn draws(&self, seed: u64) -> bool {
        random::unit(random::mix(seed ^ clock::now_nanos())) < self.spec.share
    }

    /// A request whose head is here; `None`: it will not be written, whatever comes of it.
    pub fn begin(
        self: &Arc<Self>,
        request: &dyn Request,
        client: IpAddr,
        scheme: &'static str,
        around: &Surroundings<'_>,
    ) -> Option<Box<Record>> {
        let drawn = self.draws(around.seed);
        if !drawn && !self.spec.errors {
            return None;
        }
        let path = if self.spec.query { request.target() } else { request.raw_path() };
        let value = |name: &String| Some((name.to_ascii_lowercase(), text(request.header(name)?)));
        Some(Box::new(Record {
            log: self.clone(),
            drawn,
            started: clock::now_nanos(),
            client,
            scheme,
            version: around.version,
            method: text(request.method()),
            host: text(request.authority()),
            path: text(path),
            headers: self.spec.headers.iter().filter_map(value).collect(),
            backend: String::new(),
            endpoint: None,
            attempts: 0,
            route: String::new(),
            status: 0,
            bytes: 0,
            written: false,
        }))
    }

    /// A request that was not understood: nothing of it is written.
    pub fn refused(&self, client: IpAddr, status: u16, reason: &str, seed: u64) {
        if self.spec.errors || self.draws(seed) {
            let line = serde_json::json!({"time": now(), "listener": self.listener, "client": client.to_string(),
                "status": status, "reason": reason});
            self.put(&line);
        }
    }
}

pub fn now() -> String {
    crate::shim::clock::now_rfc3339()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(MOST_TEXT)]).into_owned()
}

/// A request under way, as far as its line is known.
pub struct Record {
    log: Arc<Log>,
    drawn: bool,
    started: u64,
    client: IpAddr,
    scheme: &'static str,
    /// Of the protocol that the client speaks.
    version: &'static str,
    method: String,
    host: String,
    path: String,
    headers: Vec<(String, String)>,
    pub backend: String,
    pub endpoint: Option<String>,
    pub attempts: u32,
    pub route: String,
    /// What of the answer is on its way.
    pub status: u16,
    pub bytes: u64,
    written: bool,
}

/// How a request ended.
pub struct End<'a> {
    pub status: u16,
    /// Of the response's body, as far as they were sent.
    pub bytes: u64,
    /// Why, where the answer is ours.
    pub reason: &'a str,
    /// The client has all of it.
    pub whole: bool,
}

impl Record {
    pub fn write(mut self: Box<Self>, end: &End<'_>) {
        self.put(end);
    }

    /// It is not written.
    pub fn forget(mut self: Box<Self>) {
        self.written = true;
    }

    fn put(&mut self, end: &End<'_>) {
        // 499, as nginx has it: the client went before there was an answer.
        let status = if end.status == 0 { 499 } else { end.status };
        if std::mem::replace(&mut self.written, true) {
            return;
        }
        if !self.drawn && status < 400 && end.whole {
            return;
        }
        let seconds = clock::now_nanos().saturating_sub(self.started) as f64 / 1e9;
        let mut line = serde_json::json!({
            "time": now(), "listener": self.log.listener, "client": self.client.to_string(), "scheme": self.scheme,
            "version": self.version, "method": self.method, "host": self.host, "path": self.path, "status": status,
            "bytes": end.bytes, "seconds": (seconds * 1e6).round() / 1e6, "route": self.route,
        });
        if !self.backend.is_empty() {
            line["backend"] = self.backend.as_str().into();
            line["attempts"] = self.attempts.into();
        }
        if let Some(endpoint) = &self.endpoint {
            line["endpoint"] = endpoint.as_str().into();
        }
        if !end.reason.is_empty() {
            line["reason"] = end.reason.trim_end().into();
        }
        if !end.whole {
            line["whole"] = false.into();
        }
        if !self.headers.is_empty() {
            line["headers"] =
                self.headers.drain(..).map(|(k, v)| (k, v.into())).collect::<serde_json::Map<_, _>>().into();
        }
        self.log.put(&line);
    }
}

/// Whoever was to write it was ended with its client: an HTTP/2 stream that was taken back.
impl Drop for Record {
    fn drop(&mut self) {
        self.put(&End { status: self.status, bytes: self.bytes, reason: "", whole: false });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_reads_is_bounded_and_counted() {
        let lines = Lines::default();
        let line = vec![b'x'; 1 << 20];
        (0..6).for_each(|_| lines.push(&line));
        assert_eq!((lines.written.get(), lines.dropped.get()), (4, 2));
    }

    #[test]
    fn secrets_are_no_headers_of_a_log() {
        for (headers, wrong) in [(vec!["User-Agent"], false), (vec!["a", "Cookie"], true), (vec!["a b"], true)] {
            let headers = headers.into_iter().map(str::to_owned).collect();
            assert_eq!(check(&objects::AccessLog { headers, ..objects::AccessLog::default() }).is_err(), wrong);
        }
        assert!(check(&objects::AccessLog { share: 1.5, ..objects::AccessLog::default() }).is_err());
    }
}
