//! What the second stage is told: one JSON frame on its standard input, written by the shim (or the master).
//!
//! Promises: everything a process is given before its first instruction is in here; nothing comes from the environment
//! of whoever started it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// One process to become.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Spec {
    pub argv: Vec<String>,
    pub env: BTreeMap<String, String>,
    /// Empty: "/".
    pub cwd: String,
    pub uid: Option<u32>,
    pub gid: Option<u32>,
    pub groups: Vec<u32>,
    pub no_new_privs: bool,
    /// Names with or without `CAP_`; `None` is the Kubernetes default set.
    pub capabilities: Option<Vec<String>>,
    /// `nofile: [soft, hard]`, names as in getrlimit(2) without `RLIMIT_`.
    pub rlimits: BTreeMap<String, (u64, u64)>,
    /// Directories of cgroups to be a member of.
    pub cgroups: Vec<String>,
    /// Makes a mount namespace of its own with these mounts.
    pub mounts: Option<MountPlan>,
    /// Enters this mount namespace instead (`/proc/PID/ns/mnt`).
    pub enter: Option<String>,
    /// SIGKILL when the parent dies (where no PID namespace sees to that).
    pub die_with_parent: bool,
    /// The standard streams come as descriptors with the spec: input, output, errors.
    pub streams: bool,
    /// The standard input is a terminal that shall be the session's controlling one.
    pub terminal: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct MountPlan {
    pub mounts: Vec<Mount>,
    /// Files and directories that the process must not see.
    pub hide: Vec<String>,
    /// Mount a /proc of the PID namespace that the process is in.
    pub proc: bool,
    /// What is there already cannot be written to (but /proc, /sys and /dev); `mounts` can.
    pub read_only_root: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Mount {
    pub source: String,
    pub target: String,
    pub kind: MountKind,
    pub read_only: bool,
    /// tmpfs only; 0 is the kernel's default.
    pub size_bytes: u64,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MountKind {
    #[default]
    Bind,
    Tmpfs,
    Proc,
}
