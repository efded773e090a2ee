//! Containers at their limits: out of memory, fork bombs, full disks. Without root or cgroups these return at once.

mod support;

use std::path::{Path, PathBuf};

use serde_json::json;
use support::{Shim, await_true};

/// A cgroup of this test's own (version 1 or 2), removed at the end.
struct Cgroup(Vec<PathBuf>);

impl Cgroup {
    fn make(name: &str, limits: &[(&str, &str, &str, &str)]) -> Option<Self> {
        let root = Path::new("/sys/fs/cgroup");
        let unified = root.join("cgroup.controllers").exists();
        let mut made = Self(Vec::new());
        for (controller, first, second, value) in limits {
            let folder = if unified { root.to_path_buf() } else { root.join(controller) };
            let folder = folder.join(format!("fairlead-test-{name}-{}", std::process::id()));
            if !folder.exists() {
                std::fs::create_dir(&folder).ok()?;
                made.0.push(folder.clone());
            }
            std::fs::write(folder.join(if unified { second } else { first }), value).ok()?;
        }
        Some(made)
    }

    fn paths(&self) -> Vec<&str> {
        self.0.iter().map(|path| path.to_str().unwrap()).collect()
    }

    fn is_empty(&self) -> bool {
        self.0.iter().all(|path| std::fs::read_to_string(path.join("cgroup.procs")).unwrap().is_empty())
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        for path in &self.0 {
            await_true("the cgroup is gone", || std::fs::remove_dir(path).is_ok());
        }
    }
}

const MEMORY: (&str, &str, &str, &str) = ("memory", "memory.limit_in_bytes", "memory.max", "33554432");
const PIDS: (&str, &str, &str, &str) = ("pids", "pids.max", "pids.max", "20");

#[test]
fn a_container_that_is_out_of_memory_says_so_and_another_that_is_killed_does_not() {
    let Some(cgroup) = Cgroup::make("oom", &[MEMORY]) else { return };
    let mut shim = Shim::start("oom", &json!({"pod": "default/test"}));
    let hungry = ["python3", "-c", "x = bytearray(200_000_000)"];
    shim.start_with("web", &hungry, json!({"cgroups": cgroup.paths()}));
    let exited = shim.await_exit("web");
    assert_eq!((exited["signal"].clone(), exited["oom"].clone()), (json!(9), json!(true)), "{exited}");
    shim.start_with("web", &["sleep", "1000"], json!({"cgroups": cgroup.paths()}));
    shim.ask(json!({"type": "signal", "container": "web", "signal": "KILL"}));
    let exited = shim.await_exit("web");
    assert_eq!((exited["signal"].clone(), exited["oom"].clone()), (json!(9), json!(false)), "{exited}");
    drop(shim);
}

#[test]
fn an_exec_shares_its_containers_limits() {
    let Some(cgroup) = Cgroup::make("exec", &[MEMORY]) else { return };
    let mut shim = Shim::start("exec-limit", &json!({"pod": "default/test"}));
    shim.start_with("web", &["sleep", "1000"], json!({"cgroups": cgroup.paths()}));
    let answer = shim.exec("web", &["python3", "-c", "x = bytearray(200_000_000)"]);
    assert_eq!(answer["exit_code"], 137, "{answer}");
    drop(shim);
}

#[test]
fn a_fork_bomb_stays_within_its_limit_and_ends_with_its_container() {
    let Some(cgroup) = Cgroup::make("bomb", &[PIDS]) else { return };
    let mut shim = Shim::start("bomb", &json!({"pod": "default/test"}));
    // Sessions of their own: neither the process group nor the parent leads to them, only the cgroup.
    // The shell ends when it cannot fork any more.
    let bomb = "for i in $(seq 100); do setsid sleep 1000 & done";
    shim.start_with("web", &["sh", "-c", bomb], json!({"cgroups": cgroup.paths()}));
    shim.await_exit("web");
    assert!(shim.folder.read("web.log").contains("ork"), "{}", shim.folder.read("web.log"));
    await_true("nobody is left", || cgroup.is_empty());
    drop(shim);
}

#[test]
fn a_full_disk_costs_log_lines_and_never_the_container() {
    if !support::is_root() {
        return;
    }
    let disk = support::Folder::new("disk");
    let mount =
        std::process::Command::new("mount").args(["-t", "tmpfs", "-o", "size=64k", "none"]).arg(&disk.0).status();
    if !mount.is_ok_and(|status| status.success()) {
        return;
    }
    let _unmount = Unmount(disk.path(""));
    let mut shim = Shim::start("full", &json!({"pod": "default/test"}));
    let log = disk.path("web.log");
    let script = "head -c 300000 /dev/zero | tr '\\0' '\\n'; echo written; read line < /dev/null; sleep 0.2; exit 4";
    shim.start_with("web", &["sh", "-c", script], json!({"log": log}));
    let exited = shim.await_exit("web");
    assert_eq!(exited["exit_code"], 4);
    std::fs::write(disk.path("web.log"), "").unwrap();
    shim.start_with("web", &["sh", "-c", "echo again"], json!({"log": log}));
    shim.await_exit("web");
    assert!(std::fs::read_to_string(&log).unwrap().contains("stdout F again"));
    assert!(shim.folder.read("shim.log").contains("cannot write the log"));
}

struct Unmount(String);

impl Drop for Unmount {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg(&self.0).status();
    }
}
