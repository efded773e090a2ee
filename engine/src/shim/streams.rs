//! `exec_stream` and `attach`: a connection that becomes the standard streams of a process.
//!
//! Promises: after `started` every frame is one byte, the channel, and bytes (the channels of Kubernetes' remotecommand:
//! 0 input, 1 output, 2 errors, 3 how it ended, 4 the terminal's size; an empty input frame ends the input). A client
//! that does not read slows an exec'd command down (its output stays in the pipe), but never a container that it is
//! attached to: that client is let go. A command ends with its client's connection, an attached container does not.

use serde::Deserialize;
use serde_json::{Value, json};

use super::children::{Child, ClientId, Role};
use super::client::{Client, Mode};
use super::logs::Stream;
use super::output::{Copies, Sink};
use super::server::Server;
use super::spawn::{self, Report, Streams};
use super::wire::{ExecStream, Message};
use super::{clock, terminal};

const INPUT: u8 = 0;
const OUTPUT: u8 = 1;
const ERRORS: u8 = 2;
const ENDED: u8 = 3;
const RESIZE: u8 = 4;

#[derive(Deserialize)]
struct Size {
    width: u16,
    height: u16,
}

impl Server {
    pub(super) fn exec_stream(
        &mut self,
        client: ClientId,
        id: &Value,
        exec: &ExecStream,
    ) -> Result<Option<Message>, String> {
        let mut spec = self.command_in(&exec.container, &exec.argv)?;
        if exec.tty {
            spec.env.entry("TERM".to_owned()).or_insert_with(|| "xterm".to_owned());
        }
        spec.env.extend(exec.env.clone());
        if !exec.cwd.is_empty() {
            spec.cwd.clone_from(&exec.cwd);
        }
        let streams = match (exec.tty, exec.stdin) {
            (true, _) => Streams::Terminal { width: exec.width, height: exec.height },
            (false, true) => Streams::Piped,
            (false, false) => Streams::Output,
        };
        let role = Role::Stream { client, id: id.clone() };
        let (pid, mut child) = Child::new(role, spawn::spawn(&spec, streams)?, Sink::Nowhere, None);
        child.watchers.push(client);
        self.children.insert(pid, child);
        Ok(None)
    }

    /// The command runs, or it never will.
    pub(super) fn stream_told(&mut self, client: ClientId, id: &Value, pid: i32, report: &Report) {
        if let Some(message) = report.failure() {
            return self.send(client, &Message::Error { id: id.clone(), message });
        }
        let host_pid = report.host_pid().unwrap_or(pid);
        self.send(client, &Message::Started { id: id.clone(), pid: host_pid, at: clock::wall_seconds() });
        if let Some(one) = self.clients.get_mut(&client) {
            one.mode = Mode::Streams { pid };
        }
    }

    pub(super) fn attach(&mut self, client: ClientId, id: &Value, name: &str) -> Result<Option<Message>, String> {
        let running = self.running(name)?;
        let (pid, host_pid, at) = (running.pid, running.host_pid, running.started_at);
        self.send(client, &Message::Started { id: id.clone(), pid: host_pid, at });
        if let (Some(child), Some(one)) = (self.children.get_mut(&pid), self.clients.get_mut(&client)) {
            child.watchers.push(client);
            one.mode = Mode::Streams { pid };
        }
        Ok(None)
    }

    /// What a client sends to a process.
    pub(super) fn take_stream_frame(&mut self, client: ClientId, pid: i32, frame: &[u8]) {
        let Some(child) = self.children.get_mut(&pid) else { return };
        let terminal = child.pipes.stderr.is_none() && child.input.is_open();
        match frame.split_first() {
            Some((&INPUT, [])) => {
                let stays = match &child.role {
                    Role::Container { name } => !self.containers.get(name).is_some_and(|one| one.start.stdin_once),
                    _ => false,
                };
                if !stays {
                    child.input.end(terminal && is_terminal(child));
                }
            }
            Some((&INPUT, bytes)) => child.input.push(bytes),
            Some((&RESIZE, text)) => {
                if let (Ok(size), Some(fd)) = (serde_json::from_slice::<Size>(text), child.input.terminal()) {
                    // Not a terminal: there is nothing to resize.
                    let _ = terminal::resize(fd, size.width, size.height);
                }
            }
            _ => self.lose_client(client),
        }
    }

    pub(super) fn pump(&mut self, pid: i32, stream: Stream) {
        let Some(child) = self.children.get_mut(&pid) else { return };
        let mut copies = Copies::new();
        let wanted = (!child.watchers.is_empty()).then_some(&mut copies);
        child.pipes.pump(stream, &mut child.sink, wanted);
        if !copies.is_empty() {
            let watchers = child.watchers.clone();
            self.show(&watchers, &copies);
        }
    }

    pub(super) fn show(&mut self, watchers: &[ClientId], copies: &Copies) {
        for watcher in watchers {
            for (stream, bytes) in copies {
                let channel = if *stream == Stream::Stdout { OUTPUT } else { ERRORS };
                let sent = self.clients.get_mut(watcher).map(|client| client.send_bytes(channel, bytes));
                if matches!(sent, Some(Err(_))) {
                    self.lose_client(*watcher);
                }
            }
        }
    }

    /// The process is gone: its watchers are told how, and let go once they have read it.
    pub(super) fn end_streams(&mut self, child: &Child, exit_code: i32, signal: Option<i32>) {
        // One that never ran has had its answer; its connection is for requests still.
        if child.report.failure().is_some() {
            return;
        }
        let text = json!({"exit_code": exit_code, "signal": signal}).to_string();
        for watcher in &child.watchers {
            let Some(client) = self.clients.get_mut(watcher) else { continue };
            client.closing = true;
            if client.send_bytes(ENDED, text.as_bytes()).is_err() || !client.has_output() {
                self.lose_client(*watcher);
            }
        }
    }

    /// Whether a client is not read from, because the process that it writes to does not read.
    pub(super) fn is_held(&self, client: &Client) -> bool {
        match client.mode {
            Mode::Requests => false,
            Mode::Streams { pid } => self.children.get(&pid).is_some_and(|child| child.input.is_full()),
        }
    }

    /// Whether a command's output waits, because its client does not read.
    pub(super) fn must_wait(&self, child: &Child) -> bool {
        match &child.role {
            Role::Stream { client, .. } => self.clients.get(client).is_some_and(Client::is_full),
            _ => false,
        }
    }
}

fn is_terminal(child: &Child) -> bool {
    child.input.terminal().is_some_and(rustix::termios::isatty)
}
