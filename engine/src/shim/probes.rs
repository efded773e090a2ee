//! `exec_probe`: commands tried in a container by the kubelet's rules; only transitions are reported.
//!
//! Promises: a try that hangs is killed at `timeout_seconds` and is a failure; its output is bounded (10 KiB, as the
//! kubelet keeps). Success is exit code 0. A probe belongs to the client that set it and ends with its connection.

use serde_json::Value;

use super::children::{Child, ClientId, Role};
use super::output::{Capture, Sink};
use super::server::Server;
use super::wire::{ExecProbe, Message};
use super::{clock, spawn};
use crate::health::decision::{Decision, Try};

const MOST_OUTPUT_BYTES: usize = 10 << 10;

pub struct Probe {
    spec: ExecProbe,
    id: Value,
    decision: Decision,
    kind: Try,
    pub running: bool,
}

impl Probe {
    pub fn due(&self) -> f64 {
        self.decision.due()
    }
}

impl Server {
    pub(super) fn set_probe(
        &mut self,
        client: ClientId,
        id: &Value,
        spec: ExecProbe,
    ) -> Result<Option<Message>, String> {
        let timings = spec.timings();
        timings.check().map_err(|(field, problem)| format!("{field} {problem}"))?;
        if spec.argv.is_empty() {
            return Err("argv is empty".to_owned());
        }
        let decision = Decision::new(timings, clock::monotonic_seconds());
        let probe = Probe { spec, id: id.clone(), decision, kind: Try::Counted, running: false };
        self.probes.insert((client, id.to_string()), probe);
        Ok(Some(Message::Ok { id: id.clone() }))
    }

    pub(super) fn stop_probe(&mut self, client: ClientId, id: &Value) -> Message {
        self.probes.remove(&(client, id.to_string()));
        Message::Ok { id: id.clone() }
    }

    pub(super) fn run_due_probes(&mut self, now: f64) {
        let due: Vec<(ClientId, String)> = self
            .probes
            .iter()
            .filter(|(_, probe)| !probe.running && probe.due() <= now)
            .map(|(key, _)| key.clone())
            .collect();
        for key in due {
            self.try_probe(key, now);
        }
    }

    fn try_probe(&mut self, key: (ClientId, String), now: f64) {
        let Some(mut probe) = self.probes.remove(&key) else { return };
        probe.kind = probe.decision.begin(now);
        let spec = self.command_in(&probe.spec.container, &probe.spec.argv);
        let role = Role::Probe { client: key.0, id: key.1.clone() };
        match spec.and_then(|spec| spawn::spawn(&spec, spawn::Streams::Output)) {
            Ok(spawned) => {
                let sink = Sink::Capture(Capture::new(MOST_OUTPUT_BYTES));
                let (pid, child) = Child::new(role, spawned, sink, Some(now + probe.spec.timeout_seconds));
                self.children.insert(pid, child);
                probe.running = true;
                self.probes.insert(key, probe);
            }
            // The container is not running (yet, or any more): neither is there anything to say about it.
            Err(_) => drop(self.probes.insert(key, probe)),
        }
    }

    pub(super) fn probe_ended(&mut self, key: (ClientId, String), child: Child, exit_code: i32) {
        let Some(probe) = self.probes.get_mut(&key).filter(|probe| probe.running) else { return };
        probe.running = false;
        let ok = exit_code == 0 && !child.timed_out && child.report.failure().is_none();
        let Some(ok) = probe.decision.observe(probe.kind, ok) else { return };
        let message = Message::Probe {
            id: probe.id.clone(),
            ok,
            message: describe(&child, exit_code, probe.spec.timeout_seconds),
            at: clock::wall_seconds(),
        };
        self.send(key.0, &message);
    }
}

fn describe(child: &Child, exit_code: i32, timeout_seconds: f64) -> String {
    if let Some(message) = child.report.failure() {
        return message;
    }
    if child.timed_out {
        return format!("command timed out after {timeout_seconds} s");
    }
    let Sink::Capture(capture) = &child.sink else { return String::new() };
    let output = [capture.stdout.as_slice(), capture.stderr.as_slice()].concat();
    let output = String::from_utf8_lossy(&output);
    match (exit_code, output.trim()) {
        (0, text) => text.to_owned(),
        (code, "") => format!("command exited with code {code}"),
        (code, text) => format!("command exited with code {code}: {text}"),
    }
}
