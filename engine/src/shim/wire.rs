//! The shim's requests, answers and events (docs/protocol.md, "The shim of a process pod").
//!
//! Promises: unknown fields are ignored; `id` is whatever the client sent, unchanged. Refuses: an unknown `type` (the
//! answer is `error`).

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::prepare::{Cgroups, File, Link};
use super::stage::spec::Mount;
use crate::health::decision::Timings;

#[derive(Debug, Deserialize)]
pub struct Request {
    #[serde(default)]
    pub id: Value,
    #[serde(flatten)]
    pub body: Body,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Body {
    Start(Box<Start>),
    Signal {
        container: String,
        signal: Value,
    },
    State,
    Exec(Exec),
    ExecStream(ExecStream),
    Attach {
        container: String,
    },
    Dial {
        port: u16,
        #[serde(default)]
        address: Option<IpAddr>,
        #[serde(default)]
        timeout_seconds: f64,
    },
    ExecProbe(ExecProbe),
    ProbeStop,
    Stop,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Start {
    pub container: String,
    pub argv: Vec<String>,
    pub env: BTreeMap<String, String>,
    pub cwd: String,
    pub uid: Option<u32>,
    pub gid: Option<u32>,
    pub groups: Vec<u32>,
    pub no_new_privs: Option<bool>,
    pub capabilities: Option<Vec<String>>,
    pub rlimits: BTreeMap<String, (u64, u64)>,
    pub mounts: Vec<Mount>,
    pub read_only_root: bool,
    pub cgroups: Vec<String>,
    /// Made before it joins them.
    pub make_cgroups: Cgroups,
    /// Made before it starts.
    pub files: Vec<File>,
    pub links: Vec<Link>,
    pub log: String,
    pub log_limit_bytes: u64,
    pub log_files: u32,
    /// Its standard input stays open for `attach`; `stdin_once`: until the first one ends it.
    pub stdin: bool,
    pub stdin_once: bool,
    pub tty: bool,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Exec {
    pub container: String,
    pub argv: Vec<String>,
    pub env: BTreeMap<String, String>,
    pub cwd: String,
    pub timeout_seconds: f64,
    pub max_output_bytes: usize,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct ExecStream {
    pub container: String,
    pub argv: Vec<String>,
    pub env: BTreeMap<String, String>,
    pub cwd: String,
    pub stdin: bool,
    pub tty: bool,
    pub width: u16,
    pub height: u16,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(default)]
pub struct ExecProbe {
    pub container: String,
    pub argv: Vec<String>,
    pub initial_delay_seconds: f64,
    pub period_seconds: f64,
    pub timeout_seconds: f64,
    pub success_threshold: u32,
    pub failure_threshold: u32,
    pub fast_start: bool,
}

impl Default for ExecProbe {
    fn default() -> Self {
        Self {
            container: String::new(),
            argv: Vec::new(),
            initial_delay_seconds: 0.0,
            period_seconds: 10.0,
            timeout_seconds: 1.0,
            success_threshold: 1,
            failure_threshold: 3,
            fast_start: true,
        }
    }
}

impl ExecProbe {
    pub fn timings(&self) -> Timings {
        Timings {
            initial_delay_seconds: self.initial_delay_seconds,
            period_seconds: self.period_seconds,
            timeout_seconds: self.timeout_seconds,
            success_threshold: self.success_threshold,
            failure_threshold: self.failure_threshold,
            fast_start: self.fast_start,
        }
    }
}

/// How a container ended: also the content of `DIR/CONTAINER.exit.json`.
#[derive(Debug, Clone, Serialize)]
pub struct Exited {
    pub container: String,
    pub pid: i32,
    /// 128 + signal when a signal ended it, as a shell has it.
    pub exit_code: i32,
    pub signal: Option<i32>,
    pub started_at: f64,
    pub finished_at: f64,
    pub oom: bool,
}

#[derive(Debug, Clone, Serialize)]
pub struct ContainerState {
    pub pid: i32,
    pub started_at: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signal: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oom: Option<bool>,
}

#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Message {
    Started { id: Value, pid: i32, at: f64 },
    Error { id: Value, message: String },
    Ok { id: Value },
    State { id: Value, shim_pid: i32, containers: BTreeMap<String, ContainerState>, netns_pid: Option<i32> },
    Exec { id: Value, exit_code: i32, stdout: String, stderr: String, timed_out: bool, truncated: bool },
    Probe { id: Value, ok: bool, message: String, at: f64 },
    Exited(Exited),
}

/// Base64 with padding (RFC 4648): output of commands is bytes, JSON is text.
pub fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for piece in bytes.chunks(3) {
        let word = (u32::from(piece[0]) << 16)
            | (u32::from(*piece.get(1).unwrap_or(&0)) << 8)
            | u32::from(*piece.get(2).unwrap_or(&0));
        for place in 0..4 {
            let letter = LETTERS[(word >> (18 - 6 * place)) as usize & 63];
            text.push(if place <= piece.len() { letter as char } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_has_the_values_of_the_rfc() {
        for (plain, coded) in
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg=="), ("foobar", "Zm9vYmFy")]
        {
            assert_eq!(base64(plain.as_bytes()), coded);
        }
    }

    #[test]
    fn a_request_keeps_its_id_and_ignores_what_it_does_not_know() {
        let text = r#"{"type": "signal", "id": 7, "container": "web", "signal": "TERM", "more": 1}"#;
        let request: Request = serde_json::from_str(text).unwrap();
        assert_eq!(request.id, 7);
        assert!(matches!(request.body, Body::Signal { .. }));
    }
}
