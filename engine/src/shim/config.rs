//! `DIR/shim.json`: what the node agent wants of a pod's shim before any container starts.

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
}

impl Config {
    pub fn read(directory: &Path) -> Result<Self, String> {
        let path = directory.join("shim.json");
        let text = std::fs::read(&path).map_err(|error| format!("cannot read {path:?}: {error}"))?;
        serde_json::from_slice(&text).map_err(|error| format!("{path:?}: {error}"))
    }

    pub fn has(&self, namespace: Namespace) -> bool {
        self.namespaces.contains(&namespace)
    }

    /// The mounts of one container; `None` where containers share the host's mount namespace.
    pub fn mount_plan(&self, own: &[Mount]) -> Result<Option<MountPlan>, String> {
        if !self.has(Namespace::Mnt) {
            if own.is_empty() && self.mounts.is_empty() {
                return Ok(None);
            }
            return Err("mounts need a mount namespace, which this pod has not (shim.json names no \"mnt\")".into());
        }
        let mounts = self.mounts.iter().chain(own).cloned().collect();
        Ok(Some(MountPlan { mounts, hide: self.hide.clone(), proc: self.has(Namespace::Pid) }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_without_a_mount_namespace_are_refused() {
        let config = Config { mounts: vec![Mount::default()], ..Config::default() };
        assert!(config.mount_plan(&[]).is_err());
    }

    #[test]
    fn a_pid_namespace_brings_a_proc_of_its_own() {
        let config: Config = serde_json::from_str(r#"{"namespaces": ["mnt", "pid"], "hide": ["/var/x"]}"#).unwrap();
        let plan = config.mount_plan(&[]).unwrap().unwrap();
        assert!(plan.proc && plan.hide == ["/var/x"]);
    }
}
