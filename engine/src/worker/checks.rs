//! Active health checks of Backends that ask for them: one task per endpoint, on the control thread.
//!
//! Promises: an endpoint counts as healthy until it has failed `unhealthy_threshold` times in a row, and again after
//! `healthy_threshold` successes; checks are spread over the interval. The first check comes at once.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::{AbortHandle, spawn_local};

use crate::balance::flags;
use crate::balance::random::Random;
use crate::control::objects::{ActiveHealth, CheckKind};
use crate::control::wire::Event;
use crate::health::Report;
use crate::table::endpoint::Endpoint;
use crate::table::store::Store;
use crate::tcp::proxy_out;

pub struct Checks {
    running: RefCell<HashMap<u64, (ActiveHealth, AbortHandle)>>,
    report: Report,
    random: RefCell<Random>,
}

impl Checks {
    pub fn new(report: Report) -> Rc<Self> {
        let random = RefCell::new(Random::new(u64::from(std::process::id())));
        Rc::new(Self { running: RefCell::default(), report, random })
    }

    /// Starts and stops tasks so that they fit the store.
    pub fn follow(&self, store: &Store) {
        let mut wanted = HashMap::new();
        for backend in store.backends() {
            for endpoint in backend.shared.endpoints() {
                match &backend.spec.health {
                    Some(policy) => {
                        let before = proxy_out::header(backend.spec.proxy_protocol, None);
                        let check = (policy.clone(), backend.spec.id.clone(), endpoint, before);
                        wanted.insert(check.2.id, check);
                    }
                    None => endpoint.lower(flags::UNHEALTHY),
                }
            }
        }
        let mut running = self.running.borrow_mut();
        running.retain(|id, (policy, task)| {
            let keep = wanted.get(id).is_some_and(|(p, ..)| p == policy);
            if !keep {
                task.abort();
            }
            keep
        });
        for (id, (policy, backend, endpoint, before)) in wanted {
            running.entry(id).or_insert_with(|| {
                let phase = (self.random.borrow_mut().draw() >> 11) as f64 / (1u64 << 53) as f64;
                let task = watch((policy.clone(), before), backend, endpoint, self.report.clone(), phase);
                (policy, spawn_local(task).abort_handle())
            });
        }
    }
}

/// `before`: what the endpoint wants to hear first.
async fn watch(
    (policy, before): (ActiveHealth, Vec<u8>),
    backend: String,
    endpoint: Arc<Endpoint>,
    report: Report,
    phase: f64,
) {
    let (mut good, mut bad) = (0, 0);
    let interval = policy.interval_seconds.max(0.01);
    let mut pause = Duration::from_secs_f64(interval * (0.5 + phase / 2.0));
    loop {
        let limit = Duration::from_secs_f64(policy.timeout_seconds.max(0.01));
        let result = tokio::time::timeout(limit, check(&policy, endpoint.address, &before)).await;
        let failure = match result {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(error.to_string()),
            Err(_) => Some(format!("no answer in {} s", policy.timeout_seconds)),
        };
        (good, bad) = if failure.is_none() { (good + 1, 0) } else { (0, bad + 1) };
        let sick = endpoint.has(flags::UNHEALTHY);
        let turned = (!sick && bad >= policy.unhealthy_threshold) || (sick && good >= policy.healthy_threshold);
        if turned {
            endpoint.set_flag(flags::UNHEALTHY, !sick);
            let state = if sick { "returned" } else { "ejected" };
            let reason = format!("health check: {}", failure.as_deref().unwrap_or("passes again"));
            let (address, port) = (endpoint.address.ip().to_string(), endpoint.address.port());
            let _ =
                report.send(Event::Endpoint { backend: backend.clone(), address, port, state: state.into(), reason });
        }
        tokio::time::sleep(pause).await;
        pause = Duration::from_secs_f64(interval);
    }
}

async fn check(policy: &ActiveHealth, endpoint: SocketAddr, before: &[u8]) -> io::Result<()> {
    let port = if policy.port == 0 { endpoint.port() } else { policy.port };
    let mut stream = TcpStream::connect(SocketAddr::new(endpoint.ip(), port)).await?;
    if policy.kind == CheckKind::Tcp {
        return Ok(());
    }
    let host = if policy.host.is_empty() { endpoint.to_string() } else { policy.host.clone() };
    let request = format!(
        "GET {} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: fairlead-check\r\nConnection: close\r\n\r\n",
        policy.path
    );
    stream.write_all(&[before, request.as_bytes()].concat()).await?;
    let mut head = Vec::new();
    while !head.contains(&b'\n') && head.len() < 1024 {
        if stream.read_buf(&mut head).await? == 0 {
            return Err(io::Error::other("it closed without an answer"));
        }
    }
    let status =
        std::str::from_utf8(&head).ok().and_then(|h| h.strip_prefix("HTTP/1.")?.get(2..5)?.parse::<u16>().ok());
    match status {
        Some(status) if (policy.expected.0..=policy.expected.1).contains(&status) => Ok(()),
        Some(status) => Err(io::Error::other(format!("status {status}"))),
        None => Err(io::Error::other("the answer is not HTTP/1")),
    }
}
