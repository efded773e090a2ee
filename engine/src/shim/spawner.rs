//! `shim DIR --spawner`: starts shims for a node agent whose own process is too big to be copied for each of them.
//!
//! Requests come on standard input, a Unix stream socket, in the framing of `control::frame`:
//! `{id, name, config, files?: {name: text}}`; the answer is `{type: "started", id, pid}` once `DIR/name/shim.sock` listens, else
//! `{type: "error", id, message}`. The folder is made where it is missing; `config` becomes its
//! shim.json, and each of `files` is replaced at once. Promises: each shim has a thread of its own while it
//! starts, whose namespaces are the pod's (unshare(2) is about the calling thread), so that many start side by side;
//! shims live on when the requests' socket closes and this process ends. Refuses: requests that it cannot read.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Child;
use std::sync::{Arc, Mutex, PoisonError};

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::event::{PollFd, PollFlags};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::launch;
use crate::control::frame::{self, FrameReader};

const STACK_BYTES: usize = 256 << 10;

#[derive(Deserialize)]
struct Request {
    id: Value,
    name: String,
    config: Box<RawValue>,
    #[serde(default)]
    files: BTreeMap<String, String>,
}

type Children = Arc<Mutex<Vec<Child>>>;

pub fn run(folder: &Path) -> Result<u8, String> {
    serve(folder).map(|()| 0).map_err(|error| format!("cannot take requests: {error}"))
}

fn serve(folder: &Path) -> io::Result<()> {
    let _ = nix::sys::prctl::set_name(c"fairlead-spawner");
    // As container runtimes have it, whatever ours is; shims and containers inherit it.
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o022));
    let mut mask = SigSet::empty();
    mask.add(Signal::SIGCHLD);
    mask.thread_block()?;
    let deaths = SignalFd::with_flags(&mask, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
    let channel = UnixStream::from(rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3)?);
    let answers = Arc::new(Mutex::new(channel.try_clone()?));
    let children = Children::default();
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
            locked(&children).retain_mut(|child| matches!(child.try_wait(), Ok(None)));
        }
        if asked && reader.read_from(&channel)? == 0 {
            return Ok(());
        }
        while let Some(request) = reader.next_frame()? {
            start(folder, serde_json::from_slice(&request)?, &answers, &children)?;
        }
    }
}

fn locked<T>(shared: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

fn start(folder: &Path, request: Request, answers: &Arc<Mutex<UnixStream>>, children: &Children) -> io::Result<()> {
    let (answers, children) = (answers.clone(), children.clone());
    let directory = folder.join(&request.name);
    let work = move || {
        let answer = match prepare(&directory, &request).and_then(|()| launch::detached(&directory)) {
            Ok(child) => {
                let answer = json!({"type": "started", "id": request.id, "pid": child.id()});
                locked(&children).push(child);
                answer
            }
            Err(error) => json!({"type": "error", "id": request.id, "message": error}),
        };
        // Nobody listens any more: the shim is found in its folder by whoever comes next.
        let _ = locked(&answers).write_all(&frame::encode(answer.to_string().as_bytes()));
    };
    std::thread::Builder::new().stack_size(STACK_BYTES).spawn(work).map(drop)
}

/// The folder, without what an earlier shim left in it, and its shim.json.
fn prepare(directory: &Path, request: &Request) -> Result<(), String> {
    if let Some(name) = request.files.keys().chain([&request.name]).find(|name| !is_plain(name)) {
        return Err(format!("{name:?} is not a plain name"));
    }
    let failed = |error: io::Error| format!("cannot prepare {directory:?}: {error}");
    match DirBuilder::new().mode(0o700).create(directory) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => forget(directory).map_err(failed)?,
        result => result.map_err(failed)?,
    }
    for (name, text) in &request.files {
        let fresh = directory.join(format!("{name}.new"));
        fs::write(&fresh, text).and_then(|()| fs::rename(&fresh, directory.join(name))).map_err(failed)?;
    }
    fs::write(directory.join("shim.json"), request.config.get()).map_err(failed)
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
