//! What a container needs on the disk before it starts: its log's folder, small files and links, its cgroups.
//!
//! Promises: what is there already is brought to what is asked for, so that the same request may come twice. The folders
//! that are missing on the way are made for everybody to read. It is done here, not by the node agent, because each pod
//! has a shim of its own and the agent's loop serves all pods.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::Path;

use serde::Deserialize;

use super::wire::Start;

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct File {
    pub path: String,
    pub text: String,
    pub mode: u32,
    pub uid: Option<u32>,
    pub gid: Option<u32>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Link {
    pub path: String,
    pub to: String,
}

/// Folders of cgroups by path, each with the files that are written in it (`pids.max`).
pub type Cgroups = BTreeMap<String, BTreeMap<String, String>>;

pub fn prepare(start: &Start) -> Result<(), String> {
    let failed = |path: &str, error: io::Error| format!("cannot make {path:?}: {error}");
    folder_of(&start.log).map_err(|error| failed(&start.log, error))?;
    for file in &start.files {
        write(file).map_err(|error| failed(&file.path, error))?;
    }
    for link in &start.links {
        make_link(link).map_err(|error| failed(&link.path, error))?;
    }
    for (path, files) in &start.make_cgroups {
        make_cgroup(path, files).map_err(|error| format!("cgroup: {}", failed(path, error)))?;
    }
    Ok(())
}

fn folder_of(path: &str) -> io::Result<()> {
    Path::new(path).parent().map_or(Ok(()), fs::create_dir_all)
}

/// Tries first: nearly always the folder is there.
fn within<T>(path: &str, make: impl Fn() -> io::Result<T>) -> io::Result<T> {
    match make() {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            folder_of(path)?;
            make()
        }
        result => result,
    }
}

fn write(file: &File) -> io::Result<()> {
    let open = || OpenOptions::new().write(true).create(true).truncate(true).open(&file.path);
    let mut opened = within(&file.path, open)?;
    opened.write_all(file.text.as_bytes())?;
    opened.set_permissions(Permissions::from_mode(file.mode))?;
    if file.uid.is_some() || file.gid.is_some() {
        chown(&file.path, file.uid, file.gid)?;
    }
    Ok(())
}

fn make_link(link: &Link) -> io::Result<()> {
    match within(&link.path, || symlink(&link.to, &link.path)) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        result => result,
    }
}

fn make_cgroup(path: &str, files: &BTreeMap<String, String>) -> io::Result<()> {
    fs::create_dir_all(path)?;
    for (name, value) in files {
        fs::write(Path::new(path).join(name), value)?;
    }
    Ok(())
}
