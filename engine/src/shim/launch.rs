//! Starting the shim: namespaces first, then a process of its own inside them.
//!
//! Promises: `--daemon` returns 0 once `DIR/shim.sock` listens, and 1 with one line on standard error otherwise; the
//! shim is then in a session of its own and lives on without its parent. Two processes, because a PID namespace begins
//! with the next child: that child, the shim, is its init. Refuses: going on when a namespace that shim.json asks for
//! cannot be made (who may not make them asks for none).

use std::fs::{self, File, OpenOptions};
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use nix::sched::{CloneFlags, unshare};

use super::config::{Config, Namespace};
use super::loopback;

/// What the shim writes to its standard input when its socket listens.
pub const READY: &[u8] = b"ready\n";

pub fn foreground(directory: &Path) -> Result<u8, String> {
    let (mut child, ready) = start(directory, Stdio::inherit(), Stdio::inherit())?;
    await_ready(&mut child, ready, directory, false)?;
    let status = child.wait().map_err(|error| format!("cannot wait for the shim: {error}"))?;
    Ok(status.code().unwrap_or(1) as u8)
}

pub fn daemon(directory: &Path) -> Result<u8, String> {
    detached(directory)?;
    Ok(0)
}

/// A shim that listens, and complains to its own log. The calling thread is in the pod's namespaces afterwards.
pub fn detached(directory: &Path) -> Result<Child, String> {
    let path = directory.join("shim.log");
    let log = OpenOptions::new().create(true).append(true).open(&path);
    let log = log.map_err(|error| format!("cannot write {path:?}: {error}"))?;
    let again = log.try_clone().map_err(|error| format!("cannot write {path:?}: {error}"))?;
    let (mut child, ready) = start(directory, log.into(), again.into())?;
    await_ready(&mut child, ready, directory, true)?;
    Ok(child)
}

fn start(directory: &Path, output: Stdio, errors: Stdio) -> Result<(Child, UnixStream), String> {
    let config = Config::read(directory)?;
    make_namespaces(&config)?;
    let (ours, theirs) = UnixStream::pair().map_err(|error| format!("cannot make a socket pair: {error}"))?;
    let child = Command::new(own_path())
        .arg0("fairlead-shim")
        .arg("shim")
        .arg(directory)
        .arg("--inside")
        .stdin(OwnedFd::from(theirs))
        .stdout(output)
        .stderr(errors)
        .spawn()
        .map_err(|error| format!("cannot start the shim: {error}"))?;
    Ok((child, ours))
}

/// This binary, also after its file was replaced.
pub fn own_path() -> &'static str {
    "/proc/self/exe"
}

fn await_ready(child: &mut Child, mut ready: UnixStream, directory: &Path, logged: bool) -> Result<(), String> {
    let mut text = [0u8; 6];
    if ready.read_exact(&mut text).is_ok() && text == READY {
        return Ok(());
    }
    let status = child.wait().map_err(|error| format!("cannot wait for the shim: {error}"))?;
    let how =
        status.signal().map_or(format!("code {}", status.code().unwrap_or(0)), |signal| format!("signal {signal}"));
    let last = if logged { fs::read_to_string(directory.join("shim.log")).unwrap_or_default() } else { String::new() };
    let last = last.lines().last().unwrap_or("").to_owned();
    Err(format!("the shim ended with {how} before its socket listened; {last}"))
}

fn make_namespaces(config: &Config) -> Result<(), String> {
    let wanted = [
        (Namespace::Net, CloneFlags::CLONE_NEWNET),
        (Namespace::Uts, CloneFlags::CLONE_NEWUTS),
        (Namespace::Ipc, CloneFlags::CLONE_NEWIPC),
        (Namespace::Pid, CloneFlags::CLONE_NEWPID),
    ];
    let flags =
        wanted.iter().filter(|(one, _)| config.has(*one)).fold(CloneFlags::empty(), |flags, (_, flag)| flags | *flag);
    unshare(flags).map_err(|error| {
        format!("cannot make the namespaces {:?}: {} (needs CAP_SYS_ADMIN)", config.namespaces, error.desc())
    })?;
    if config.has(Namespace::Uts) && !config.hostname.is_empty() {
        nix::unistd::sethostname(&config.hostname)
            .map_err(|error| format!("cannot set the host name {:?}: {}", config.hostname, error.desc()))?;
    }
    if config.has(Namespace::Net) {
        prepare_network(config)?;
    }
    for (name, value) in &config.sysctls {
        fs::write(config.sysctl_path(name)?, value).map_err(|error| format!("cannot set sysctl {name}: {error}"))?;
    }
    Ok(())
}

/// What container runtimes set up in a pod's network namespace.
fn prepare_network(config: &Config) -> Result<(), String> {
    if config.loopback_up {
        loopback::up().map_err(|error| format!("cannot bring up lo: {error}"))?;
    }
    // Any user of the pod may listen on port 80 and ping, as under containerd; kernels without these files do without.
    for (file, value) in [("ip_unprivileged_port_start", "0"), ("ping_group_range", "0 2147483647")] {
        let _ = fs::write(format!("/proc/sys/net/ipv4/{file}"), value);
    }
    Ok(())
}

/// Locks `DIR/shim.pid` for as long as the file stays open.
pub fn lock(directory: &Path) -> Result<File, String> {
    let path = directory.join("shim.pid");
    let file = OpenOptions::new().create(true).truncate(false).read(true).write(true).open(&path);
    let file = file.map_err(|error| format!("cannot write {path:?}: {error}"))?;
    rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive).map_err(|_| {
        let holder = fs::read_to_string(&path).unwrap_or_default();
        format!("another shim (pid {}) runs in {directory:?}", holder.trim())
    })?;
    Ok(file)
}
