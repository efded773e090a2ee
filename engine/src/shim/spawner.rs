//! `shim DIR --spawner`: starts shims for a node agent whose own process is too big to be copied for each of them.
//!
//! Requests come on standard input, a Unix stream socket, in the framing of `control::frame`:
//! `{id, name, config, files?: {name: text}, network?: [{inside, messages}]}`; the answer is
//! `{type: "started", id, pid, connected}` once `DIR/name/shim.sock` listens and the network's messages are sent, else
//! `{type: "error", id, message}`. The folder is made where it is missing; `config` is the shim's, and each of `files`
//! is replaced at once. Promises: all that is done for a pod is done in its shim (forked, see `launch`), so that many
//! start side by side and none can hurt another; this process enters no namespace of a pod, but names the PID namespace
//! of its next child; shims live on when the requests' socket closes and this process ends. Refuses: requests that it
//! cannot read; going on when its next child would be born in a pod's PID namespace.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File};
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::UnixStream;
use std::path::Path;

use fork::Fork;
use nix::sched::{CloneFlags, setns};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::event::{PollFd, PollFlags};
use rustix::process::WaitOptions;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::config::{Config, Namespace};
use super::launch::{self, Seat};
use super::netlink::{self, Netlink};
use crate::control::frame::{self, FrameReader};

#[derive(Deserialize)]
struct Request {
    id: Value,
    name: String,
    config: Box<RawValue>,
    #[serde(default)]
    files: BTreeMap<String, String>,
    #[serde(default)]
    network: Vec<netlink::Batch>,
}

/// A request has a few kilobytes; every page that is written here is copied anew after each fork.
const PIECE_BYTES: usize = 4096;
/// The descriptor of the spawner's network namespace, by which messages that are sent inside name it.
const OUTSIDE: i32 = 100;

/// The spawner's own namespaces, opened before it has any pod. `pid` is missing where it may not come back to that one:
/// in a user namespace that has none of its own, it is the machine's.
struct Home {
    pid: Option<File>,
    _net: OwnedFd,
}

impl Home {
    fn open() -> io::Result<Self> {
        let net = rustix::io::fcntl_dupfd_cloexec(File::open("/proc/self/ns/net")?, OUTSIDE)?;
        let pid = File::open("/proc/self/ns/pid")?;
        let may_return = setns(&pid, CloneFlags::CLONE_NEWPID).is_ok();
        Ok(Self { pid: may_return.then_some(pid), _net: net })
    }
}

pub fn run(folder: &Path) -> Result<u8, String> {
    match serve(folder).map_err(|error| format!("cannot take requests: {error}"))? {
        None => Ok(0),
        // A shim, and nothing of the spawner's is open any more.
        Some(seat) => seat.serve_alone(),
    }
}

/// Returns at the end of the requests, and in each shim.
fn serve(folder: &Path) -> io::Result<Option<Seat>> {
    let _ = nix::sys::prctl::set_name(c"fairlead-spawner");
    // As container runtimes have it, whatever ours is; shims and containers inherit it.
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o022));
    // What a shim without a PID namespace leaves behind comes to us.
    nix::sys::prctl::set_child_subreaper(true)?;
    let mut mask = SigSet::empty();
    mask.add(Signal::SIGCHLD);
    mask.thread_block()?;
    let deaths = SignalFd::with_flags(&mask, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
    let channel = UnixStream::from(rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3)?);
    rustix::stdio::dup2_stdin(File::open("/dev/null")?)?;
    let home = Home::open()?;
    // What the processor can do is found out here once, not in every shim: asking is slow in a virtual machine.
    let _ = memchr::memchr(0, &[1; 64]);
    let mut reader = FrameReader::default();
    loop {
        let mut fds = [PollFd::new(&channel, PollFlags::IN), PollFd::from_borrowed_fd(deaths.as_fd(), PollFlags::IN)];
        match rustix::event::poll(&mut fds, None) {
            Err(rustix::io::Errno::INTR) => continue,
            result => result?,
        };
        let (asked, died) = (!fds[0].revents().is_empty(), !fds[1].revents().is_empty());
        if died {
            while deaths.read_signal()?.is_some() {}
            while let Ok(Some(_)) = rustix::process::wait(WaitOptions::NOHANG) {}
        }
        if asked && reader.read_at_most::<PIECE_BYTES>(&channel)? == 0 {
            return Ok(None);
        }
        while let Some(request) = reader.next_frame()? {
            let request: Request = serde_json::from_slice(&request)?;
            let config = serde_json::from_str(request.config.get()).map_err(|error| format!("config: {error}"));
            let forked = match &config {
                Ok(config) => fork(config, &home)?,
                Err(message) => Err(message.clone()),
            };
            match (forked, config) {
                (Ok(Fork::Child), Ok(config)) => return Ok(Some(start(folder, &request, config, &channel))),
                (Err(message), _) => refuse(&channel, &request, &message),
                _ => {}
            }
        }
    }
}

/// The child is the first process of the pod's PID namespace where it has one of its own. An error of ours (not the
/// request's): we cannot come back.
fn fork(config: &Config, home: &Home) -> io::Result<Result<Fork, String>> {
    if !config.has(Namespace::Pid) {
        return Ok(launch::fork().map_err(launch::cannot_fork));
    }
    let Some(pid) = &home.pid else { return Ok(fork_twice(config)) };
    if let Err(message) = launch::enter_namespaces(config, CloneFlags::CLONE_NEWPID) {
        return Ok(Err(message));
    }
    let forked = launch::fork().map_err(launch::cannot_fork);
    if !matches!(forked, Ok(Fork::Child)) {
        setns(pid, CloneFlags::CLONE_NEWPID)?;
    }
    Ok(forked)
}

/// Where this process could not come back, one in between names the namespace of its only child, and ends.
fn fork_twice(config: &Config) -> Result<Fork, String> {
    let between = match launch::fork().map_err(launch::cannot_fork)? {
        Fork::Parent(between) => between,
        Fork::Child => {
            let entered = launch::enter_namespaces(config, CloneFlags::CLONE_NEWPID);
            match entered.and_then(|()| launch::fork().map_err(launch::cannot_fork)) {
                Ok(Fork::Child) => return Ok(Fork::Child),
                Ok(Fork::Parent(_)) => std::process::exit(0),
                Err(_) => std::process::exit(1),
            }
        }
    };
    let ended = rustix::process::waitpid(rustix::process::Pid::from_raw(between), WaitOptions::empty());
    match ended {
        Ok(Some((_, status))) if status.exit_status() == Some(0) => Ok(Fork::Parent(between)),
        _ => {
            Err(format!("cannot make the namespaces {:?} (needs CAP_SYS_ADMIN), or no process more", config.namespaces))
        }
    }
}

/// In the shim: its place. The process ends where that cannot be had.
fn start(folder: &Path, request: &Request, config: Config, channel: &UnixStream) -> Seat {
    let directory = folder.join(&request.name);
    let taken = prepare(&directory, request).and_then(|()| {
        let outside = Netlink::open();
        let seat = Seat::take(&directory, config, !CloneFlags::CLONE_NEWPID)?;
        // Who asked connects it otherwise where this is refused, and hears the reason.
        let connected = outside.and_then(|mut outside| netlink::connect(&mut outside, &request.network)).is_ok();
        Ok((seat, connected && !request.network.is_empty()))
    });
    match taken {
        Ok((seat, connected)) => {
            let pid = launch::pid_outside();
            tell(channel, &json!({"type": "started", "id": request.id, "pid": pid, "connected": connected}));
            seat
        }
        Err(message) => {
            refuse(channel, request, &message);
            std::process::exit(0)
        }
    }
}

fn refuse(channel: &UnixStream, request: &Request, message: &str) {
    tell(channel, &json!({"type": "error", "id": request.id, "message": message}));
}

/// One write, so that answers of several processes do not mix.
fn tell(mut channel: &UnixStream, answer: &Value) {
    // When nobody listens any more, the shim is found in its folder by whoever comes next.
    let _ = channel.write_all(&frame::encode(answer.to_string().as_bytes()));
}

/// The folder, without what an earlier shim left in it, and the files.
fn prepare(directory: &Path, request: &Request) -> Result<(), String> {
    if let Some(name) = request.files.keys().chain([&request.name]).find(|name| !is_plain(name)) {
        return Err(format!("{name:?} is not a plain name"));
    }
    let failed = |error: io::Error| format!("cannot prepare {directory:?}: {error}");
    let is_new = match DirBuilder::new().mode(0o700).create(directory) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => false,
        result => result.map(|()| true).map_err(failed)?,
    };
    if !is_new {
        forget(directory).map_err(failed)?;
    }
    for (name, text) in &request.files {
        let path = directory.join(name);
        if is_new {
            fs::write(&path, text).map_err(failed)?;
            continue;
        }
        let fresh = directory.join(format!("{name}.new"));
        fs::write(&fresh, text).and_then(|()| fs::rename(&fresh, path)).map_err(failed)?;
    }
    Ok(())
}

fn is_plain(name: &str) -> bool {
    !name.is_empty() && !name.contains('/') && !name.starts_with('.')
}

fn forget(directory: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name == "shim.sock" || name.ends_with(".exit.json") {
            fs::remove_file(&path)?;
        }
    }
    Ok(())
}
