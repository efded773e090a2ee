//! The processes that the shim started itself, and the containers of the pod.

use std::collections::BTreeMap;

use serde_json::Value;

use super::input::Input;
use super::output::{Pipes, Sink};
use super::spawn::{Report, Spawned};
use super::wire::{ContainerState, Exited, Start};

pub type ClientId = u64;

/// What a child is for.
#[derive(Debug, Clone, PartialEq)]
pub enum Role {
    Container {
        name: String,
    },
    Exec {
        client: ClientId,
        id: Value,
    },
    Probe {
        client: ClientId,
        id: String,
    },
    /// A command whose streams are a client's connection.
    Stream {
        client: ClientId,
        id: Value,
    },
}

/// One child: a container's first process, an exec or one try of a probe.
pub struct Child {
    pub role: Role,
    pub report: Report,
    pub pipes: Pipes,
    pub sink: Sink,
    pub input: Input,
    /// Clients that see the output.
    pub watchers: Vec<ClientId>,
    /// Monotonic seconds at which it is killed.
    pub deadline: Option<f64>,
    pub timed_out: bool,
}

impl Child {
    pub fn new(role: Role, spawned: Spawned, sink: Sink, deadline: Option<f64>) -> (i32, Self) {
        let Spawned { pid, pipes, input, report } = spawned;
        let input = Input::new(input);
        (pid, Self { role, report, pipes, sink, input, watchers: Vec::new(), deadline, timed_out: false })
    }
}

/// A container as the shim knows it: running, or how it ended.
pub struct Container {
    pub start: Start,
    /// Who is to be told that it started.
    pub asked_by: Option<(ClientId, Value)>,
    /// In the shim's own PID namespace.
    pub pid: i32,
    pub host_pid: i32,
    pub started_at: f64,
    pub running: bool,
    pub exited: Option<Exited>,
    pub oom_kills: u64,
}

impl Container {
    pub fn state(&self) -> ContainerState {
        ContainerState {
            pid: self.host_pid,
            started_at: self.started_at,
            exit_code: self.exited.as_ref().map(|exited| exited.exit_code),
            signal: self.exited.as_ref().and_then(|exited| exited.signal),
            finished_at: self.exited.as_ref().map(|exited| exited.finished_at),
            oom: self.exited.as_ref().map(|exited| exited.oom),
        }
    }
}

pub type Containers = BTreeMap<String, Container>;
