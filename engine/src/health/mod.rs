//! Probes: httpGet, tcp and grpc, with thresholds and a fast start; they report transitions.

pub mod decision;

use std::collections::HashMap;

use crate::control::{objects, wire};

/// Where probe results go; the worker passes them on to the controller.
pub type Report = tokio::sync::mpsc::UnboundedSender<wire::Event>;

/// The probes that run on this thread's runtime.
pub struct Prober {
    _report: Report,
    running: HashMap<String, objects::Probe>,
}

impl Prober {
    pub fn new(report: Report) -> Self {
        Self { _report: report, running: HashMap::new() }
    }

    /// Starts, replaces and stops probes. Runs inside a local runtime (`spawn_local`).
    pub fn apply(&mut self, message: &wire::Probes) -> Vec<wire::Nack> {
        let mut nacks = Vec::new();
        for object in &message.set.0 {
            match objects::parse::<objects::Probe>(object) {
                Ok(probe) => nacks.push(wire::Nack {
                    object: format!("probe/{}", probe.id),
                    path: "kind".into(),
                    message: "this engine does not probe yet".into(),
                }),
                Err(refusal) => nacks.push(wire::Nack {
                    object: format!("probe/{}", wire::object_id(object)),
                    path: refusal.path,
                    message: refusal.message,
                }),
            }
        }
        for id in &message.removed {
            self.running.remove(id);
        }
        nacks
    }
}
