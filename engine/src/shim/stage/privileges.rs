//! Cgroups, resource limits, user, groups and capabilities of the process to be.
//!
//! Promises: the bounding set ends within the Kubernetes default set (the one that container runtimes grant); no
//! ambient or inheritable capability is left; root without a capability of the list does not get it back by exec.
//! Refuses: a capability outside the default set; a user or group that we may not become.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};

use nix::sys::resource::{Resource, setrlimit};
use nix::unistd::{self, Gid, Uid};
use rustix::thread::{CapabilitySet, CapabilitySets};

use super::command::plain;
use super::spec::Spec;

/// What containerd and CRI-O grant a container that asks for nothing.
const DEFAULT: [(&str, CapabilitySet); 14] = [
    ("CHOWN", CapabilitySet::CHOWN),
    ("DAC_OVERRIDE", CapabilitySet::DAC_OVERRIDE),
    ("FSETID", CapabilitySet::FSETID),
    ("FOWNER", CapabilitySet::FOWNER),
    ("MKNOD", CapabilitySet::MKNOD),
    ("NET_RAW", CapabilitySet::NET_RAW),
    ("SETGID", CapabilitySet::SETGID),
    ("SETUID", CapabilitySet::SETUID),
    ("SETFCAP", CapabilitySet::SETFCAP),
    ("SETPCAP", CapabilitySet::SETPCAP),
    ("NET_BIND_SERVICE", CapabilitySet::NET_BIND_SERVICE),
    ("SYS_CHROOT", CapabilitySet::SYS_CHROOT),
    ("KILL", CapabilitySet::KILL),
    ("AUDIT_WRITE", CapabilitySet::AUDIT_WRITE),
];

/// Of a process that has one thread.
pub fn join_cgroups(paths: &[String]) -> Result<(), String> {
    paths
        .iter()
        .try_for_each(|path| join(path).map_err(|error| format!("cannot join cgroup {path:?}: {}", plain(&error))))
}

/// "0" is whoever writes, whatever PID namespace it is in. Version 1 has a file of threads: a thread that moves itself
/// keeps no other process of the machine from forking or ending meanwhile, and does not wait (20 ms) until none does.
fn join(path: &str) -> io::Result<()> {
    let threads = fs::OpenOptions::new().write(true).open(format!("{path}/tasks"));
    let mut file = match threads {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            fs::OpenOptions::new().write(true).open(format!("{path}/cgroup.procs"))?
        }
        other => other?,
    };
    file.write_all(b"0")
}

pub fn set_limits(limits: &BTreeMap<String, (u64, u64)>) -> Result<(), String> {
    for (name, (soft, hard)) in limits {
        let resource = resource_of(name).ok_or_else(|| format!("unknown resource limit {name:?}"))?;
        setrlimit(resource, *soft, *hard)
            .map_err(|error| format!("cannot set the limit {name} to {soft}, {hard}: {}", error.desc()))?;
    }
    Ok(())
}

fn resource_of(name: &str) -> Option<Resource> {
    Some(match name.to_ascii_lowercase().trim_start_matches("rlimit_") {
        "as" => Resource::RLIMIT_AS,
        "core" => Resource::RLIMIT_CORE,
        "cpu" => Resource::RLIMIT_CPU,
        "data" => Resource::RLIMIT_DATA,
        "fsize" => Resource::RLIMIT_FSIZE,
        "memlock" => Resource::RLIMIT_MEMLOCK,
        "nofile" => Resource::RLIMIT_NOFILE,
        "nproc" => Resource::RLIMIT_NPROC,
        "stack" => Resource::RLIMIT_STACK,
        _ => return None,
    })
}

pub fn become_user(spec: &Spec) -> Result<(), String> {
    let allowed = allowed_set(spec.capabilities.as_deref())?;
    let may_drop = effective().contains(CapabilitySet::SETPCAP);
    if may_drop {
        drop_bounding(allowed).map_err(|error| format!("cannot drop capabilities: {}", plain(&error)))?;
    }
    change_identity(spec)?;
    rustix::thread::clear_ambient_capability_set().map_err(|error| format!("cannot drop capabilities: {error}"))?;
    let kept = if Uid::effective().is_root() { effective() & allowed } else { CapabilitySet::empty() };
    set_capabilities(kept)?;
    if spec.no_new_privs {
        nix::sys::prctl::set_no_new_privs().map_err(|error| format!("cannot set no_new_privs: {}", error.desc()))?;
    }
    Ok(())
}

/// The capabilities that the names mean; `None` is the default set.
fn allowed_set(names: Option<&[String]>) -> Result<CapabilitySet, String> {
    let Some(names) = names else {
        return Ok(DEFAULT.iter().fold(CapabilitySet::empty(), |set, (_, one)| set | *one));
    };
    let mut set = CapabilitySet::empty();
    for name in names {
        let upper = name.to_ascii_uppercase();
        let short = upper.strip_prefix("CAP_").unwrap_or(&upper);
        let found = DEFAULT.iter().find(|(known, _)| *known == short);
        set |= found.ok_or_else(|| format!("capability {name:?} is more than a container's default and is refused"))?.1;
    }
    Ok(set)
}

fn effective() -> CapabilitySet {
    rustix::thread::capabilities(None).map_or(CapabilitySet::empty(), |sets| sets.effective)
}

fn drop_bounding(allowed: CapabilitySet) -> io::Result<()> {
    for bit in 0..63 {
        let one = CapabilitySet::from_bits_retain(1 << bit);
        if allowed.contains(one) {
            continue;
        }
        match rustix::thread::remove_capability_from_bounding_set(one) {
            Ok(()) => {}
            // Past the kernel's last capability.
            Err(rustix::io::Errno::INVAL) => break,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn change_identity(spec: &Spec) -> Result<(), String> {
    let user_changes = spec.uid.is_some_and(|uid| Uid::from_raw(uid) != Uid::current());
    let groups: Vec<Gid> = spec.groups.iter().map(|gid| Gid::from_raw(*gid)).collect();
    if user_changes || !groups.is_empty() {
        unistd::setgroups(&groups).map_err(|error| match spec.uid.filter(|_| user_changes) {
            Some(uid) => format!("cannot become user {uid}: {}", error.desc()),
            None => format!("cannot set groups {:?}: {}", spec.groups, error.desc()),
        })?;
    }
    if let Some(gid) = spec.gid.map(Gid::from_raw).filter(|gid| *gid != Gid::current()) {
        unistd::setresgid(gid, gid, gid).map_err(|error| format!("cannot become group {gid}: {}", error.desc()))?;
    }
    if let Some(uid) = spec.uid.map(Uid::from_raw).filter(|_| user_changes) {
        unistd::setresuid(uid, uid, uid).map_err(|error| format!("cannot become user {uid}: {}", error.desc()))?;
    }
    Ok(())
}

fn set_capabilities(kept: CapabilitySet) -> Result<(), String> {
    let sets = CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() };
    rustix::thread::set_capabilities(None, sets).map_err(|error| format!("cannot drop capabilities: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_taken_with_and_without_prefix() {
        let names = ["CAP_CHOWN".to_owned(), "kill".to_owned()];
        assert_eq!(allowed_set(Some(&names)).unwrap(), CapabilitySet::CHOWN | CapabilitySet::KILL);
    }

    #[test]
    fn a_capability_beyond_the_default_set_is_refused_by_name() {
        let message = allowed_set(Some(&["SYS_ADMIN".to_owned()])).unwrap_err();
        assert!(message.contains("SYS_ADMIN"), "{message}");
    }

    #[test]
    fn an_empty_list_grants_nothing() {
        assert_eq!(allowed_set(Some(&[])).unwrap(), CapabilitySet::empty());
    }
}
