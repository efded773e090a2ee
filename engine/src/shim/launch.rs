//! Starting the shim: namespaces first, then a process of its own inside them.
//!
//! Promises: `--daemon` returns 0 once `DIR/shim.sock` listens, and 1 with one line on standard error otherwise; the
//! shim is then in a session of its own and lives on without its parent. Two processes, because a PID namespace begins
//! with the next child: that child, the shim, is its init. It is forked and never executed (`fork` is safe to call: no
//! process of the shim's has a second thread): an exec of this binary is milliseconds of loading and relocation, and
//! memory that shims then do not share. Refuses: going on when a namespace that shim.json asks for cannot be made (who
//! may not make them asks for none); a second shim in the same folder.

use std::fs::{self, File};
use std::io;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use fork::Fork;
use nix::sched::{CloneFlags, unshare};
use nix::sys::stat::{Mode, umask};
use rustix::process::WaitOptions;

use super::config::{Config, Namespace};
use super::{loopback, server};
use crate::voice;

/// A shim's place, ready to be served by the next child of the process that made it.
pub struct Seat {
    pub config: Config,
    pub directory: PathBuf,
    pub listener: UnixListener,
    /// Held for as long as the shim lives.
    _lock: File,
}

impl Seat {
    /// The calling process is in the pod's folder and in those of its namespaces that `missing` names afterwards (its
    /// next child is in the PID namespace).
    pub fn take(directory: &Path, config: Config, missing: CloneFlags) -> Result<Self, String> {
        let directory = directory.canonicalize().map_err(|error| format!("{directory:?}: {error}"))?;
        let lock = lock(&directory)?;
        enter_namespaces(&config, missing)?;
        prepare_namespaces(&config)?;
        // Paths of Unix sockets are short; a relative one always fits.
        std::env::set_current_dir(&directory).map_err(|error| format!("{directory:?}: {error}"))?;
        let listener = listen().map_err(|error| format!("cannot listen on shim.sock: {error}"))?;
        Ok(Self { config, directory, listener, _lock: lock })
    }

    /// Serves, in the child, without any of the parent's streams; complaints go to the shim's own log.
    pub fn serve_alone(self) -> Result<u8, String> {
        voice::to_file(self.directory.join("shim.log"));
        let null = File::options().read(true).write(true).open("/dev/null");
        let null = null.map_err(|error| format!("cannot open /dev/null: {error}"))?;
        let _ = rustix::stdio::dup2_stdout(&null).and_then(|()| rustix::stdio::dup2_stderr(&null));
        server::run(self)
    }
}

pub fn foreground(directory: &Path) -> Result<u8, String> {
    let seat = Seat::take(directory, Config::read(directory)?, CloneFlags::all())?;
    match fork().map_err(cannot_fork)? {
        Fork::Child => server::run(seat),
        Fork::Parent(pid) => {
            drop(seat);
            let status = rustix::process::waitpid(rustix::process::Pid::from_raw(pid), WaitOptions::empty());
            let status = status.map_err(|error| format!("cannot wait for the shim: {error}"))?;
            Ok(status.and_then(|(_, status)| status.exit_status()).unwrap_or(1) as u8)
        }
    }
}

pub fn daemon(directory: &Path) -> Result<u8, String> {
    let seat = Seat::take(directory, Config::read(directory)?, CloneFlags::all())?;
    match fork().map_err(cannot_fork)? {
        Fork::Child => seat.serve_alone(),
        Fork::Parent(_) => Ok(0),
    }
}

/// fork(2), in a process that has one thread.
pub fn fork() -> io::Result<Fork> {
    fork::fork()
}

pub fn cannot_fork(error: io::Error) -> String {
    format!("cannot start the shim: {error}")
}

fn listen() -> io::Result<UnixListener> {
    let _ = fs::remove_file("shim.sock");
    let before = umask(Mode::from_bits_truncate(0o177));
    let listener = UnixListener::bind("shim.sock");
    umask(before);
    let listener = listener?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Makes those namespaces of the pod's that are among `these`, and enters them.
pub fn enter_namespaces(config: &Config, these: CloneFlags) -> Result<(), String> {
    let wanted = [
        (Namespace::Net, CloneFlags::CLONE_NEWNET),
        (Namespace::Uts, CloneFlags::CLONE_NEWUTS),
        (Namespace::Ipc, CloneFlags::CLONE_NEWIPC),
        (Namespace::Pid, CloneFlags::CLONE_NEWPID),
    ];
    let flags =
        wanted.iter().filter(|(one, _)| config.has(*one)).fold(CloneFlags::empty(), |flags, (_, flag)| flags | *flag);
    unshare(flags & these).map_err(|error| {
        format!("cannot make the namespaces {:?}: {} (needs CAP_SYS_ADMIN)", config.namespaces, error.desc())
    })
}

fn prepare_namespaces(config: &Config) -> Result<(), String> {
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

/// The calling process's pid as the /proc that it sees has it, which a PID namespace hides from it otherwise.
pub fn pid_outside() -> i32 {
    let seen = fs::read_link("/proc/self").ok();
    seen.and_then(|path| path.to_str()?.parse().ok()).unwrap_or_else(|| std::process::id() as i32)
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

/// Locks the folder for as long as the file stays open.
fn lock(directory: &Path) -> Result<File, String> {
    let file = File::open(directory).map_err(|error| format!("cannot open {directory:?}: {error}"))?;
    rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive)
        .map_err(|_| format!("another shim runs in {directory:?}"))?;
    Ok(file)
}
