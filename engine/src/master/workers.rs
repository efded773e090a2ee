//! The worker's life: started, missed, replaced, ended.

use nix::sys::signal::Signal;
use rustix::process::{WaitOptions, WaitStatus};

use super::server::{KILL_AFTER_SECONDS, Master};
use super::worker::{self, Worker};
use crate::shim::clock;

impl Master {
    /// A worker whose connection has ended is of no use; usually it is dying already. Its death tells how it ended.
    pub(super) fn end_silent_worker(&mut self) {
        self.reap();
        if let Some(worker) = self.worker.take_if(|worker| worker.adopted) {
            // Not our child: nobody tells how it ended.
            kill(worker.pid);
            return self.worker_died(&worker, "its control connection ended");
        }
        if let Some(pid) = self.worker.as_ref().map(|worker| worker.pid) {
            kill(pid);
            self.await_death(pid);
        }
    }

    /// Waits for a process that has been killed, which takes no time to speak of.
    pub(super) fn await_death(&mut self, pid: i32) {
        if let Ok(Some((_, status))) =
            rustix::process::waitpid(rustix::process::Pid::from_raw(pid), WaitOptions::empty())
        {
            self.bury(pid, status);
        }
    }

    pub(super) fn reap(&mut self) {
        while let Ok(Some((pid, status))) = rustix::process::wait(WaitOptions::NOHANG) {
            self.bury(pid.as_raw_nonzero().get(), status);
        }
    }

    pub(super) fn bury(&mut self, pid: i32, status: WaitStatus) {
        if let Some(mut worker) = self.worker.take_if(|worker| worker.pid == pid) {
            worker.report.read();
            let reason = worker.report.failure().unwrap_or_else(|| reason_of(status));
            return self.worker_died(&worker, &reason);
        }
        self.retired.retain(|worker| worker.pid != pid);
        if self.retired.is_empty() {
            self.release_held();
        }
    }

    pub(super) fn worker_died(&mut self, worker: &Worker, reason: &str) {
        if self.kill_at.is_some() {
            return;
        }
        let now = clock::monotonic_seconds();
        let pause = self.pauses.after(now - worker.started_at);
        complain!("fairlead-engine master: worker {} ended ({reason}); the next starts in {pause} s", worker.pid);
        self.restarts += 1;
        self.reason = reason.to_owned();
        self.start_at = Some(now + pause);
    }

    pub(super) fn start_worker(&mut self, now: f64) {
        match worker::start(&self.options, now) {
            Ok(worker) => {
                self.worker = Some(worker);
                self.replay();
            }
            Err(error) => {
                complain!("fairlead-engine master: cannot start a worker: {error}");
                self.start_at = Some(now + self.pauses.after(0.0).max(0.1));
            }
        }
    }

    /// Stops accepting; ends when the workers have finished, or been killed a moment after the grace.
    pub(super) fn shut_down(&mut self, grace_seconds: f64) {
        self.start_at = None;
        self.sockets.clear();
        let message = serde_json::json!({"type": "shutdown", "grace_seconds": grace_seconds});
        for worker in self.worker.iter_mut().chain(&mut self.retired) {
            let _ = worker.link.send(&message);
        }
        self.kill_at = Some(clock::monotonic_seconds() + grace_seconds.max(0.0) + KILL_AFTER_SECONDS);
    }
}

pub(super) fn kill(pid: i32) {
    let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), Signal::SIGKILL);
}

fn reason_of(status: WaitStatus) -> String {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "unknown".to_owned(),
    }
}
