//! `exec`: one command in a running container, its output and exit code in one answer.
//!
//! Promises: the command and its process group are killed at `timeout_seconds` (0: none); at most `max_output_bytes` of
//! each stream are kept.

use serde_json::Value;

use super::children::{Child, ClientId, Role};
use super::output::{Capture, Sink};
use super::server::Server;
use super::wire::{Exec, Message, base64};
use super::{clock, spawn};

const DEFAULT_OUTPUT_BYTES: usize = 1 << 20;
/// What a client's queue can hold twice in base64.
const MOST_OUTPUT_BYTES: usize = 8 << 20;

impl Server {
    pub(super) fn exec(&mut self, client: ClientId, id: &Value, exec: &Exec) -> Result<Option<Message>, String> {
        let mut spec = self.command_in(&exec.container, &exec.argv)?;
        spec.env.extend(exec.env.clone());
        if !exec.cwd.is_empty() {
            spec.cwd.clone_from(&exec.cwd);
        }
        let asked = if exec.max_output_bytes == 0 { DEFAULT_OUTPUT_BYTES } else { exec.max_output_bytes };
        let sink = Sink::Capture(Capture::new(asked.min(MOST_OUTPUT_BYTES)));
        let deadline = (exec.timeout_seconds > 0.0).then(|| clock::monotonic_seconds() + exec.timeout_seconds);
        let role = Role::Exec { client, id: id.clone() };
        let (pid, child) = Child::new(role, spawn::spawn(&spec, spawn::Streams::Output)?, sink, deadline);
        self.children.insert(pid, child);
        Ok(None)
    }

    pub(super) fn exec_ended(&mut self, client: ClientId, id: Value, child: Child, exit_code: i32) {
        let Sink::Capture(capture) = child.sink else { return };
        let answer = match child.report.failure() {
            Some(message) => Message::Error { id, message },
            None => Message::Exec {
                id,
                exit_code,
                stdout: base64(&capture.stdout),
                stderr: base64(&capture.stderr),
                timed_out: child.timed_out,
                truncated: capture.truncated,
            },
        };
        self.send(client, &answer);
    }
}
