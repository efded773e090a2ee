//! Signals: their names, process groups, and everything that is left of a pod.

use std::collections::BTreeSet;
use std::fs;

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use serde_json::Value;

/// A signal by number, or by name with or without `SIG`.
pub fn signal_of(value: &Value) -> Result<Signal, String> {
    let found = match value {
        Value::Number(number) => number
            .as_i64()
            .and_then(|number| i32::try_from(number).ok())
            .and_then(|number| Signal::try_from(number).ok()),
        Value::String(name) => {
            let upper = name.to_ascii_uppercase();
            let full = if upper.starts_with("SIG") { upper } else { format!("SIG{upper}") };
            full.parse().ok()
        }
        _ => None,
    };
    found.ok_or_else(|| format!("unknown signal {value}"))
}

pub fn one(pid: i32, signal: Signal) -> Result<(), String> {
    kill(Pid::from_raw(pid), signal).map_err(|error| format!("cannot signal process {pid}: {}", error.desc()))
}

/// Kills a process group; one that has no member left is as good as killed.
pub fn group(pid: i32) {
    let _ = killpg(Pid::from_raw(pid), Signal::SIGKILL);
    // A stage that has not made its session yet is in our own group still.
    let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
}

/// Kills the members of cgroups (containers that have one leave nobody behind).
pub fn cgroups(paths: &[String]) {
    for path in paths {
        if fs::write(format!("{path}/cgroup.kill"), "1").is_ok() {
            continue;
        }
        let members = fs::read_to_string(format!("{path}/cgroup.procs")).unwrap_or_default();
        for pid in members.lines().filter_map(|line| line.parse::<i32>().ok()).filter(|pid| *pid > 1) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
}

/// Kills all that descends from this process. As a PID namespace's init: all that is in the namespace.
pub fn everything() {
    let own = std::process::id() as i32;
    if own == 1 {
        let _ = kill(Pid::from_raw(-1), Signal::SIGKILL);
        return;
    }
    let mut seen = BTreeSet::new();
    let mut todo = vec![own];
    while let Some(parent) = todo.pop() {
        for child in children_of(parent) {
            if seen.insert(child) {
                todo.push(child);
            }
        }
    }
    for pid in seen {
        let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
    }
}

fn children_of(parent: i32) -> Vec<i32> {
    let tasks = fs::read_dir(format!("/proc/{parent}/task")).into_iter().flatten().flatten();
    let lists = tasks.filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
    lists.flat_map(|list| list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<i32>>()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_are_known_by_number_and_by_name() {
        for value in [Value::from(15), Value::from("TERM"), Value::from("SIGTERM"), Value::from("sigterm")] {
            assert_eq!(signal_of(&value), Ok(Signal::SIGTERM));
        }
        assert!(signal_of(&Value::from("NOPE")).is_err());
        assert!(signal_of(&Value::from(4000)).is_err());
    }
}
