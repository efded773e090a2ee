//! The mount namespace of one container: volumes in place, our own state out of sight, a /proc of its own.
//!
//! Promises: nothing done here reaches the host's mounts (propagation goes one way, so that what the host unmounts
//! does not live on here); sources are opened before anything is covered, so a hidden folder may hold them; a target
//! that does not exist is made without a trace on the host (`mirror`). Refuses: relative targets.

use std::ffi::CString;
use std::fs::{self, File};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};
use rustix::fs::{CWD, Mode, OFlags};

use super::command::plain;
use super::mirror;
use super::spec::{Mount, MountKind, MountPlan};

pub fn enter(path: &str) -> Result<(), String> {
    let namespace = File::open(path).map_err(|error| format!("cannot open {path:?}: {}", plain(&error)))?;
    setns(namespace, CloneFlags::CLONE_NEWNS).map_err(|error| format!("cannot enter {path:?}: {}", error.desc()))
}

pub fn apply(plan: &MountPlan) -> Result<(), String> {
    unshare(CloneFlags::CLONE_NEWNS)
        .map_err(|error| format!("cannot make a mount namespace: {} (needs CAP_SYS_ADMIN)", error.desc()))?;
    raw(None, "/", None, MsFlags::MS_REC | MsFlags::MS_SLAVE, None)?;
    let mut opened = Vec::new();
    for one in &plan.mounts {
        opened.push((one, open_source(one)?));
    }
    let mut covers = Vec::new();
    for (one, source) in opened.iter().filter(|(one, _)| one.kind != MountKind::Proc) {
        let covered = place(one, source.as_ref())?;
        covers.extend(covered);
    }
    if plan.read_only_root {
        make_read_only(&plan.mounts)?;
        for path in &covers {
            remount_read_only(path)?;
        }
    }
    for path in &plan.hide {
        hide(path)?;
    }
    let asked = plan.mounts.iter().filter(|one| one.kind == MountKind::Proc).map(|one| one.target.as_str());
    for target in asked.chain(plan.proc.then_some("/proc")) {
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
        raw(Some("proc"), target, Some("proc"), flags, None)?;
    }
    Ok(())
}

fn open_source(one: &Mount) -> Result<Option<OwnedFd>, String> {
    if !one.target.starts_with('/') {
        return Err(format!("mount target {:?} is not an absolute path", one.target));
    }
    if one.kind != MountKind::Bind {
        return Ok(None);
    }
    rustix::fs::openat(CWD, &one.source, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
        .map(Some)
        .map_err(|error| format!("cannot mount {:?} on {:?}: {}", one.source, one.target, plain(&error.into())))
}

/// What is mounted now cannot be written to any more, but what the kernel itself serves, and the volumes. (A volume that
/// is mounted afterwards would inherit the new read-only flag of the file system that it comes from.)
fn make_read_only(volumes: &[Mount]) -> Result<(), String> {
    let table =
        fs::read_to_string("/proc/self/mountinfo").map_err(|error| format!("cannot read the mounts: {error}"))?;
    for line in table.lines() {
        let Some(target) = line.split(' ').nth(4).map(unescape) else { continue };
        let within = |path: &str| Path::new(&target).starts_with(path);
        let own = ["/proc", "/sys", "/dev"].into_iter().any(within)
            || volumes.iter().any(|one| !one.read_only && within(&one.target));
        // A mount that is covered by another cannot be reached, neither by us nor by the container.
        if !own && Path::new(&target).exists() {
            remount_read_only(&target)?;
        }
    }
    Ok(())
}

/// Spaces and the like are octal in /proc/self/mountinfo.
fn unescape(text: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .iter()
        .fold(text.to_owned(), |text, (coded, plain)| text.replace(coded, plain))
}

/// Mounts one thing; the directory that had to be covered for it.
fn place(one: &Mount, source: Option<&OwnedFd>) -> Result<Option<String>, String> {
    match source {
        Some(source) => {
            let path = format!("/proc/self/fd/{}", source.as_raw_fd());
            let covered = mirror::make_target(Path::new(&one.target), Path::new(&path).is_dir())?;
            raw(Some(&path), &one.target, None, MsFlags::MS_BIND | MsFlags::MS_REC, None)?;
            if one.read_only {
                remount_read_only(&one.target)?;
            }
            Ok(covered)
        }
        None => {
            let covered = mirror::make_target(Path::new(&one.target), true)?;
            let mut options = "mode=0777".to_owned();
            if one.size_bytes > 0 {
                options.push_str(&format!(",size={}", one.size_bytes));
            }
            let flags = if one.read_only { MsFlags::MS_RDONLY } else { MsFlags::empty() };
            raw(
                Some("tmpfs"),
                &one.target,
                Some("tmpfs"),
                flags | MsFlags::MS_NOSUID | MsFlags::MS_NODEV,
                Some(&options),
            )?;
            Ok(covered)
        }
    }
}

/// A bind mount takes read-only in a second step, with the flags that it has already.
fn remount_read_only(target: &str) -> Result<(), String> {
    let has = nix::sys::statvfs::statvfs(target)
        .map_err(|error| format!("cannot look at {target:?}: {}", error.desc()))?
        .flags();
    let kept = [
        (nix::sys::statvfs::FsFlags::ST_NOSUID, MsFlags::MS_NOSUID),
        (nix::sys::statvfs::FsFlags::ST_NODEV, MsFlags::MS_NODEV),
        (nix::sys::statvfs::FsFlags::ST_NOEXEC, MsFlags::MS_NOEXEC),
    ];
    let flags = kept.iter().filter(|(one, _)| has.contains(*one)).fold(MsFlags::empty(), |all, (_, flag)| all | *flag);
    raw(None, target, None, flags | MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY, None)
}

/// Covers a path: a directory by an empty read-only file system, a file by /dev/null. What does not exist is hidden.
fn hide(path: &str) -> Result<(), String> {
    match fs::metadata(path) {
        Err(_) => Ok(()),
        Ok(what) if what.is_dir() => {
            let flags = MsFlags::MS_RDONLY | MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
            raw(Some("tmpfs"), path, Some("tmpfs"), flags, Some("mode=0555,size=4k"))
        }
        Ok(_) => raw(Some("/dev/null"), path, None, MsFlags::MS_BIND, None),
    }
}

/// mount(2), with an error that says what was mounted where.
pub fn raw(
    source: Option<&str>,
    target: &str,
    kind: Option<&str>,
    flags: MsFlags,
    options: Option<&str>,
) -> Result<(), String> {
    let options = options.map(CString::new).transpose().map_err(|_| "a mount option holds a zero byte".to_owned())?;
    mount(source, target, kind, flags, options.as_deref()).map_err(|error| {
        format!("cannot mount {} on {target:?}: {}", source.unwrap_or("(a change of flags)"), error.desc())
    })
}
