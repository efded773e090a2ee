//! Deaths: of children, of orphans that were handed to us, and of everything when the pod stops.

use nix::sys::signal::Signal;
use rustix::process::{WaitIdOptions, WaitOptions, WaitStatus};
use serde_json::Value;

use super::children::{Child, ClientId, Role};
use super::output::Copies;
use super::server::{Server, Stopping};
use super::spawn::Report;
use super::wire::Message;
use super::{clock, kill};

/// How long `stop` waits for processes that do not die (in the kernel, on a dead disk).
const STOP_PATIENCE_SECONDS: f64 = 10.0;

/// Looks for children without reaping one.
const NOTHING_TAKEN: WaitIdOptions = WaitIdOptions::EXITED.union(WaitIdOptions::NOHANG).union(WaitIdOptions::NOWAIT);

impl Server {
    pub(super) fn take_signals(&mut self) {
        let mut asked_to_end = false;
        while let Ok(Some(signal)) = self.signals.read_signal() {
            asked_to_end |= matches!(signal.ssi_signo as i32, TERM | INT);
        }
        self.reap();
        if asked_to_end {
            self.stop(None);
        }
    }

    /// Every dead child is waited for, ours or an orphan that was handed to us.
    pub(super) fn reap(&mut self) {
        while let Ok(Some((pid, status))) = rustix::process::wait(WaitOptions::NOHANG) {
            let pid = pid.as_raw_nonzero().get();
            if let Some(child) = self.children.remove(&pid) {
                self.bury(pid, child, status);
            }
        }
    }

    pub(super) fn bury(&mut self, pid: i32, mut child: Child, status: WaitStatus) {
        let had_report = child.report.channel.is_none();
        if !child.report.read() {
            child.report.channel = None;
        }
        if !had_report {
            self.told(pid, &child.role, &child.report);
        }
        kill::group(pid);
        if let Role::Container { name } = &child.role
            && let Some(container) = self.containers.get(name)
        {
            kill::cgroups(&container.start.cgroups);
        }
        let mut copies = Copies::new();
        child.pipes.drain(&mut child.sink, (!child.watchers.is_empty()).then_some(&mut copies));
        self.show(&child.watchers, &copies);
        let (code, signal) = exit_of(status);
        self.end_streams(&child, code, signal);
        match child.role.clone() {
            Role::Container { name } => self.container_exited(&name, pid, code, signal),
            Role::Exec { client, id } => self.exec_ended(client, id, child, code),
            Role::Probe { client, id } => self.probe_ended((client, id), child, code),
            // Its end was told over its own channel.
            Role::Stream { .. } => {}
        }
    }

    pub(super) fn read_report(&mut self, pid: i32) {
        let Some(mut child) = self.children.remove(&pid) else { return };
        if child.report.read() {
            self.told(pid, &child.role, &child.report);
        }
        self.children.insert(pid, child);
    }

    pub(super) fn told(&mut self, pid: i32, role: &Role, report: &Report) {
        match role {
            Role::Container { name } => self.container_told(name, pid, report),
            Role::Stream { client, id } => self.stream_told(*client, id, pid, report),
            Role::Exec { .. } | Role::Probe { .. } => {}
        }
    }

    pub(super) fn stop(&mut self, asked_by: Option<(ClientId, Value)>) {
        self.probes.clear();
        let give_up_at = clock::monotonic_seconds() + STOP_PATIENCE_SECONDS;
        self.stopping.get_or_insert(Stopping { asked_by, give_up_at });
        kill::everything();
    }

    /// Whether `stop` has come to its end; answers it.
    pub(super) fn stopped(&mut self) -> bool {
        let Some(stopping) = &self.stopping else { return false };
        let none_left = matches!(
            rustix::process::waitid(rustix::process::WaitId::All, NOTHING_TAKEN),
            Err(rustix::io::Errno::CHILD)
        );
        if !none_left && clock::monotonic_seconds() < stopping.give_up_at {
            return false;
        }
        if let Some((client, id)) = stopping.asked_by.clone() {
            self.send(client, &Message::Ok { id });
        }
        true
    }
}

const TERM: i32 = Signal::SIGTERM as i32;
const INT: i32 = Signal::SIGINT as i32;

fn exit_of(status: WaitStatus) -> (i32, Option<i32>) {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => (code, None),
        (None, Some(signal)) => (128 + signal, Some(signal)),
        (None, None) => (128, None),
    }
}
