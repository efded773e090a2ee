//! Active health checks of Backends that ask for them: one task per endpoint, on the control thread.
//!
//! Promises: an endpoint counts as healthy until it has failed `unhealthy_threshold` times in a row, and again after
//! `healthy_threshold` successes. The first check comes at once; the others are spread over the interval, and each comes up
//! to a tenth of it early or late, so that neither endpoints nor engines are asked in step for long.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::{AbortHandle, spawn_local};

use crate::balance::flags;
use crate::balance::outlier::Cause;
use crate::balance::random::Random;
use crate::control::wire::Event;
use crate::health::Report;
use crate::health::active::{self, Way};
use crate::table::endpoint::Endpoint;
use crate::table::store::Store;
use crate::tcp::proxy_out;

pub struct Checks {
    /// Another one begins when its way changes.
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
                        let (policy, upstream, h2) = (policy.clone(), backend.upstream.clone(), backend.speaks_h2());
                        let way = Way { policy, upstream, h2, before };
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
                let random = Random::new(self.random.borrow_mut().draw());
                let task = watch(way.clone(), backend, endpoint, self.report.clone(), random);
                (way, spawn_local(task).abort_handle())
            });
        }
    }
}

async fn watch(way: Way, backend: String, endpoint: Arc<Endpoint>, report: Report, mut random: Random) {
    let policy = &way.policy;
    let (mut good, mut bad) = (0, 0);
    let interval = policy.interval_seconds.max(0.01);
    let mut pause = interval * (0.5 + random.unit() / 2.0);
    loop {
        let limit = Duration::from_secs_f64(policy.timeout_seconds.max(0.01));
        let checked = active::check(&way, endpoint.address);
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
        tokio::time::sleep(Duration::from_secs_f64(pause)).await;
        pause = interval * (0.9 + random.unit() / 5.0);
    }
}
