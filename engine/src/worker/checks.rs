//! Active health checks of Backends that ask for them: one task per endpoint, on the control thread.
//!
//! Promises: an endpoint counts as healthy until it has failed `unhealthy_threshold` times in a row, and again after
//! `healthy_threshold` successes; checks are spread over the interval. The first check comes at once.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::{AbortHandle, spawn_local};

use crate::balance::flags;
use crate::balance::outlier::Cause;
use crate::balance::random::Random;
use crate::control::objects::ActiveHealth;
use crate::control::wire::Event;
use crate::health::{Report, active};
use crate::table::endpoint::Endpoint;
use crate::table::store::Store;
use crate::tcp::proxy_out;
use crate::tls::upstream::Upstream;

/// What a task works by; another one begins when it changes.
#[derive(Clone)]
struct Way {
    policy: ActiveHealth,
    upstream: Option<Upstream>,
    /// What the endpoint wants to hear first.
    before: Vec<u8>,
}

impl Way {
    fn same(&self, other: &Self) -> bool {
        let tls = match (&self.upstream, &other.upstream) {
            (Some(own), Some(theirs)) => Arc::ptr_eq(&own.config, &theirs.config),
            (own, theirs) => own.is_none() && theirs.is_none(),
        };
        tls && self.policy == other.policy && self.before == other.before
    }
}

pub struct Checks {
    running: RefCell<HashMap<u64, (Way, AbortHandle)>>,
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
                        let way = Way { policy: policy.clone(), upstream: backend.upstream.clone(), before };
                        wanted.insert(endpoint.id, (way, backend.spec.id.clone(), endpoint));
                    }
                    None => endpoint.lower(flags::UNHEALTHY),
                }
            }
        }
        let mut running = self.running.borrow_mut();
        running.retain(|id, (way, task)| {
            let keep = wanted.get(id).is_some_and(|(wanted, ..)| wanted.same(way));
            if !keep {
                task.abort();
            }
            keep
        });
        for (id, (way, backend, endpoint)) in wanted {
            running.entry(id).or_insert_with(|| {
                let phase = (self.random.borrow_mut().draw() >> 11) as f64 / (1u64 << 53) as f64;
                let task = watch(way.clone(), backend, endpoint, self.report.clone(), phase);
                (way, spawn_local(task).abort_handle())
            });
        }
    }
}

async fn watch(way: Way, backend: String, endpoint: Arc<Endpoint>, report: Report, phase: f64) {
    let Way { policy, upstream, before } = way;
    let (mut good, mut bad) = (0, 0);
    let interval = policy.interval_seconds.max(0.01);
    let mut pause = Duration::from_secs_f64(interval * (0.5 + phase / 2.0));
    loop {
        let limit = Duration::from_secs_f64(policy.timeout_seconds.max(0.01));
        let checked = active::check(&policy, endpoint.address, upstream.as_ref(), &before);
        let result = tokio::time::timeout(limit, checked).await;
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
            if !sick {
                endpoint.ejections.note(Cause::HealthCheck, &reason, None);
            }
            let (address, port) = (endpoint.address.ip().to_string(), endpoint.address.port());
            let _ =
                report.send(Event::Endpoint { backend: backend.clone(), address, port, state: state.into(), reason });
        }
        tokio::time::sleep(pause).await;
        pause = Duration::from_secs_f64(interval);
    }
}
