//! `DIR/shim.json`: what the node agent wants of a pod's shim before any container starts.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;

use super::stage::spec::{Mount, MountPlan};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Namespace {
    Net,
    Mnt,
    Pid,
    Uts,
    Ipc,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Config {
    /// namespace/name, for messages.
    pub pod: String,
    pub namespaces: Vec<Namespace>,
    pub hostname: String,
    /// Mounts that every container gets, before its own.
    pub mounts: Vec<Mount>,
    /// What no container may see.
    pub hide: Vec<String>,
    pub loopback_up: bool,
    /// Kernel parameters of the pod's own namespaces, by their sysctl(8) names.
    pub sysctls: BTreeMap<String, String>,
}

impl Config {
    pub fn read(directory: &Path) -> Result<Self, String> {
        let path = directory.join("shim.json");
        let text = std::fs::read(&path).map_err(|error| format!("cannot read {path:?}: {error}"))?;
        serde_json::from_slice(&text).map_err(|error| format!("{path:?}: {error}"))
    }

    /// Where a sysctl is written. Refused: one that is not of a namespace that the pod has of its own.
    pub fn sysctl_path(&self, name: &str) -> Result<String, String> {
        let of_ipc = ["kernel.shm", "kernel.msg", "kernel.sem", "fs.mqueue."];
        let own = name.starts_with("net.") && self.has(Namespace::Net)
            || of_ipc.iter().any(|prefix| name.starts_with(prefix)) && self.has(Namespace::Ipc);
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        if !own || !name.bytes().all(plain) || name.contains("..") {
            return Err(format!("sysctl {name:?} is not of a namespace of the pod's own"));
        }
        Ok(format!("/proc/sys/{}", name.replace('.', "/")))
    }

    pub fn has(&self, namespace: Namespace) -> bool {
        self.namespaces.contains(&namespace)
    }

    /// The mounts of one container; `None` where containers share the host's mount namespace.
    pub fn mount_plan(&self, own: &[Mount], read_only_root: bool) -> Result<Option<MountPlan>, String> {
        if !self.has(Namespace::Mnt) {
            if own.is_empty() && self.mounts.is_empty() && !read_only_root {
                return Ok(None);
            }
            return Err("mounts and a read-only root need a mount namespace, which this pod has not (shim.json names no \"mnt\")".into());
        }
        let mounts = self.mounts.iter().chain(own).cloned().collect();
        Ok(Some(MountPlan { mounts, hide: self.hide.clone(), proc: self.has(Namespace::Pid), read_only_root }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_without_a_mount_namespace_are_refused() {
        let config = Config { mounts: vec![Mount::default()], ..Config::default() };
        assert!(config.mount_plan(&[], false).is_err());
    }

    #[test]
    fn only_sysctls_of_the_pods_own_namespaces_are_taken() {
        let config: Config = serde_json::from_str(r#"{"namespaces": ["net"]}"#).unwrap();
        assert_eq!(config.sysctl_path("net.core.somaxconn").unwrap(), "/proc/sys/net/core/somaxconn");
        for name in ["kernel.shmmax", "kernel.panic", "net..core", "net.core/x", "vm.swappiness", ""] {
            assert!(config.sysctl_path(name).is_err(), "{name}");
        }
    }

    #[test]
    fn a_pid_namespace_brings_a_proc_of_its_own() {
        let config: Config = serde_json::from_str(r#"{"namespaces": ["mnt", "pid"], "hide": ["/var/x"]}"#).unwrap();
        let plan = config.mount_plan(&[], false).unwrap().unwrap();
        assert!(plan.proc && plan.hide == ["/var/x"]);
    }
}
