//! What the master makes of each message: merge and pass on, answer itself, or hold.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Value, json};

use super::server::{Master, STALE_DRAINS_SECONDS};
use super::table::Verdict;
use super::{handover, worker};
use crate::control::wire;
use crate::shim::clock;
use crate::worker::estate::{ADOPT, STATS, TABLE};

#[derive(Deserialize)]
struct Plain {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    nacks: Vec<Value>,
}

impl Master {
    /// One message of the controller's.
    pub(super) fn obey(&mut self, body: &[u8]) {
        let before = self.table.epoch;
        match self.table.merge(body) {
            Verdict::Taken { structure } => {
                if self.table.epoch > before && self.table.has_stale_drains() {
                    self.forget_drains_at = Some(clock::monotonic_seconds() + STALE_DRAINS_SECONDS);
                }
                self.tell_worker(body);
                if self.estate.append(body) {
                    self.write_down();
                }
                if structure {
                    let named = self.table.sockets();
                    self.sockets.retain(|id, _| named.contains(id));
                }
            }
            Verdict::Refused { message, epoch, seq } => self.answer(&wire::Event::Error { message, epoch, seq }),
            Verdict::Other => self.obey_other(body),
        }
    }

    fn obey_other(&mut self, body: &[u8]) {
        let refuse = |message: String| wire::Event::Error { message, epoch: None, seq: None };
        match serde_json::from_slice::<wire::Request>(body) {
            Ok(wire::Request::Hello { version }) if version > wire::VERSION => {
                self.answer(&refuse(format!("this engine speaks version {}, not {version}", wire::VERSION)));
            }
            Ok(wire::Request::Hello { .. }) => self.welcome(),
            Ok(wire::Request::Sockets { sockets }) => self.take_sockets(sockets),
            Ok(wire::Request::Ping { id }) if self.worker.is_none() => self.answer(&wire::Event::Pong { id }),
            Ok(wire::Request::Ping { .. }) => self.tell_worker(body),
            Ok(wire::Request::Shutdown { grace_seconds }) => self.shut_down(grace_seconds),
            Ok(wire::Request::Upgrade { path }) => {
                let Err(message) = self.upgrade(&path);
                self.answer(&refuse(format!("the engine was not upgraded: {message}")));
            }
            Ok(_) => {}
            Err(error) => self.answer(&refuse(format!("the message was not understood: {error}"))),
        }
    }

    fn upgrade(&mut self, path: &str) -> Result<std::convert::Infallible, String> {
        worker::check_binary(path)?;
        handover::hand_over(self, path)
    }

    fn welcome(&mut self) {
        let message = json!({
            "type": "welcome",
            "version": wire::VERSION,
            "engine_version": env!("CARGO_PKG_VERSION"),
            "master_pid": std::process::id(),
            "worker_pid": self.worker.as_ref().map_or(0, |worker| worker.pid),
            "epoch": self.table.epoch,
            "seq": self.table.seq,
            "hashes": self.table.hashes(),
            "sockets": self.sockets.keys().collect::<Vec<_>>(),
        });
        self.answer(&message);
    }

    fn take_sockets(&mut self, names: Vec<wire::SocketName>) {
        let Some(link) = &mut self.controller else { return };
        let fds = link.reader.take_fds(names.len());
        let (came, named) = (fds.len(), names.len());
        let taken: Vec<(String, Arc<_>)> =
            names.into_iter().map(|name| name.id).zip(fds.into_iter().map(Arc::new)).collect();
        if let Some(worker) = &mut self.worker {
            let ids: Vec<&str> = taken.iter().map(|(id, _)| id.as_str()).collect();
            let _ = worker.link.send_raw(&sockets_message(&ids), taken.iter().map(|(_, fd)| fd.clone()).collect());
        }
        self.sockets.extend(taken);
        if came < named {
            let message = format!("{named} sockets were named and {came} descriptors came");
            self.answer(&wire::Event::Error { message, epoch: None, seq: None });
        }
    }

    /// Tells a new worker everything.
    pub(super) fn replay(&mut self) {
        let Some(worker) = &mut self.worker else { return };
        // A worker that dies of any of this is noticed by its death.
        let own = vec![self.stats.clone(), self.estate.adopt.clone()];
        let _ = worker.link.send_raw(&sockets_message(&[STATS, ADOPT]), own);
        let replay = self.table.replay();
        for message in &replay.first {
            let _ = worker.link.send_raw(message, Vec::new());
        }
        let ids: Vec<&str> = self.sockets.keys().map(String::as_str).collect();
        let _ = worker.link.send_raw(&sockets_message(&ids), self.sockets.values().cloned().collect());
        let _ = worker.link.send_raw(&replay.last, Vec::new());
        worker.replaying = replay.messages().count();
        worker.place = (self.table.epoch, self.table.seq);
        self.write_down();
    }

    /// Writes the table down anew, for a next master.
    pub(super) fn write_down(&mut self) {
        let Some(worker) = &mut self.worker else { return };
        match self.estate.write(&self.table) {
            Ok(file) => drop(worker.link.send_raw(&sockets_message(&[TABLE]), vec![file])),
            Err(error) => complain!("fairlead-engine master: cannot write the table down: {error}"),
        }
    }

    /// One message of the worker's.
    pub(super) fn hear(&mut self, body: &[u8]) {
        let Ok(plain) = serde_json::from_slice::<Plain>(body) else { return };
        let replaying = self.worker.as_ref().is_some_and(|worker| worker.replaying > 0);
        match plain.kind.as_str() {
            "ack" | "error" if replaying => self.hear_of_replay(plain.nacks),
            "welcome" => {}
            "drained" if !self.retired.is_empty() => self.held.push(body.to_vec()),
            _ => self.pass_on(body),
        }
    }

    /// The last ack of a replay stands for all of them, and for what a dead worker did not ack.
    fn hear_of_replay(&mut self, nacks: Vec<Value>) {
        let Some(worker) = &mut self.worker else { return };
        worker.nacks.extend(nacks);
        worker.replaying -= 1;
        if worker.replaying > 0 {
            return;
        }
        let (nacks, pid, (epoch, seq)) = (std::mem::take(&mut worker.nacks), worker.pid, worker.place);
        let upgraded = self.retired.iter().any(|worker| !worker.ending);
        self.retire_old_workers();
        if epoch > 0 {
            self.answer(&json!({"type": "ack", "epoch": epoch, "seq": seq, "nacks": nacks}));
        }
        if self.restarts > 0 || upgraded {
            self.answer(&wire::Event::Worker { pid, restarts: self.restarts, reason: self.reason.clone() });
        }
    }

    fn retire_old_workers(&mut self) {
        let message = json!({"type": "shutdown", "grace_seconds": handover::RETIRED_GRACE_SECONDS});
        for worker in self.retired.iter_mut().filter(|worker| !worker.ending) {
            let _ = worker.link.send(&message);
            worker.ending = true;
        }
    }

    pub(super) fn release_held(&mut self) {
        for body in std::mem::take(&mut self.held) {
            self.pass_on(&body);
        }
    }

    pub(super) fn forget_drains(&mut self) {
        for message in self.table.take_stale_drains() {
            self.tell_worker(&message);
        }
    }

    fn tell_worker(&mut self, body: &[u8]) {
        if let Some(worker) = &mut self.worker {
            let _ = worker.link.send_raw(body, Vec::new());
        }
    }

    fn pass_on(&mut self, body: &[u8]) {
        let sent = self.controller.as_mut().map(|link| link.send_raw(body, Vec::new()).is_ok() && !link.is_full());
        if sent == Some(false) {
            self.controller = None;
        }
    }

    fn answer<T: serde::Serialize>(&mut self, message: &T) {
        if let Ok(body) = serde_json::to_vec(message) {
            self.pass_on(&body);
        }
    }
}

fn sockets_message(ids: &[&str]) -> Vec<u8> {
    let names: Vec<Value> = ids.iter().map(|id| json!({"id": id})).collect();
    json!({"type": "sockets", "sockets": names}).to_string().into_bytes()
}
