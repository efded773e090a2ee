//! Probes: httpGet, tcp and grpc, by the kubelet's rules; they report transitions.
//!
//! `decision` says when to try and what counts (pure; exec probes of the shim use it, too), `attempt` makes one try,
//! this file keeps one task per probe. Promises: a probe that is set again unchanged goes on and repeats its last report,
//! so that a controller that returns knows. Refuses: what could not be asked, by its field.

pub mod active;
pub mod attempt;
pub mod decision;
mod get;
mod grpc;

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::task::AbortHandle;
use tokio::time::Instant;

use crate::control::{objects, wire};
use decision::{Decision, Timings};

/// Where probe results go; the worker passes them on to the controller.
pub type Report = tokio::sync::mpsc::UnboundedSender<wire::Event>;

/// The probes that run on this thread's runtime.
pub struct Prober {
    report: Report,
    running: HashMap<String, Running>,
}

struct Running {
    probe: objects::Probe,
    task: AbortHandle,
    last: Rc<RefCell<Option<wire::Event>>>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Prober {
    pub fn new(report: Report) -> Self {
        Self { report, running: HashMap::new() }
    }

    /// Starts, replaces and stops probes. Runs inside a local runtime (`spawn_local`).
    pub fn apply(&mut self, message: &wire::Probes) -> Vec<wire::Nack> {
        let mut nacks = Vec::new();
        let mut set = HashSet::new();
        for object in &message.set.0 {
            let id = wire::object_id(object);
            set.insert(id.to_owned());
            match objects::parse::<objects::Probe>(object).and_then(check) {
                Ok(probe) => self.set(probe),
                Err(refusal) => {
                    self.running.remove(id);
                    let objects::Refusal { path, message } = refusal;
                    nacks.push(wire::Nack { object: format!("probe/{id}"), path, message });
                }
            }
        }
        message.removed.iter().for_each(|id| drop(self.running.remove(id)));
        if message.full {
            self.running.retain(|id, _| set.contains(id));
        }
        nacks
    }

    fn set(&mut self, probe: objects::Probe) {
        if let Some(known) = self.running.get(&probe.id).filter(|known| known.probe == probe) {
            if let Some(event) = known.last.borrow().clone() {
                let _ = self.report.send(event);
            }
            return;
        }
        let last = Rc::new(RefCell::new(None));
        let task = tokio::task::spawn_local(watch(probe.clone(), self.report.clone(), last.clone())).abort_handle();
        self.running.insert(probe.id.clone(), Running { probe, task, last });
    }
}

fn timings(probe: &objects::Probe) -> Timings {
    Timings {
        initial_delay_seconds: probe.initial_delay_seconds,
        period_seconds: probe.period_seconds,
        timeout_seconds: probe.timeout_seconds,
        success_threshold: probe.success_threshold,
        failure_threshold: probe.failure_threshold,
        fast_start: probe.fast_start,
    }
}

fn check(probe: objects::Probe) -> Result<objects::Probe, objects::Refusal> {
    timings(&probe).check().map_err(|(path, message)| objects::Refusal::new(path, message))?;
    if probe.port == 0 {
        return Err(objects::Refusal::new("port", "must be 1 to 65535"));
    }
    if probe.kind == objects::CheckKind::Http {
        get::check(&probe)?;
    }
    Ok(probe)
}

async fn watch(probe: objects::Probe, report: Report, last: Rc<RefCell<Option<wire::Event>>>) {
    let start = Instant::now();
    let mut decision = Decision::new(timings(&probe), 0.0);
    loop {
        tokio::time::sleep_until(start + Duration::from_secs_f64(decision.due())).await;
        let kind = decision.begin(start.elapsed().as_secs_f64());
        let result = attempt::once(&probe).await;
        let Some(ok) = decision.observe(kind, result.is_ok()) else { continue };
        let message = result.unwrap_or_else(|problem| problem);
        let at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        let event = wire::Event::Probe { id: probe.id.clone(), ok, message, at };
        *last.borrow_mut() = Some(event.clone());
        if report.send(event).is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests;
