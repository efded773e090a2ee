//! The control socket: bound, private, one master to a path.
//!
//! Promises: mode 0600 from the first moment; a path of any length works; of two masters started for one socket, the
//! second says who holds it and ends.

use std::fs::{File, OpenOptions};
use std::io::{self, Seek, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use nix::sys::stat::{Mode, umask};

/// Locks `PATH.lock`, which holds the master's pid, for as long as the file stays open.
pub fn lock(socket: &Path) -> Result<File, String> {
    let path = socket.with_extension("lock");
    let file = OpenOptions::new().create(true).truncate(false).read(true).write(true).open(&path);
    let mut file = file.map_err(|error| format!("cannot write {path:?}: {error}"))?;
    rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive).map_err(|_| {
        let holder = std::fs::read_to_string(&path).unwrap_or_default();
        format!("another master (pid {}) serves {socket:?}", holder.trim())
    })?;
    let written = file.set_len(0).and_then(|()| file.rewind()).and_then(|()| writeln!(file, "{}", std::process::id()));
    written.map_err(|error| format!("cannot write {path:?}: {error}"))?;
    Ok(file)
}

/// A socket's path by way of its open folder: addresses of Unix sockets are short, so a long path would not fit.
pub struct Reachable {
    _folder: File,
    path: PathBuf,
}

impl Reachable {
    pub fn path(&self) -> &Path {
        &self.path
    }
}

pub fn reachable(socket: &Path) -> io::Result<Reachable> {
    let folder = socket.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let name = socket.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let folder = File::open(folder)?;
    let path = Path::new("/proc/self/fd").join(folder.as_raw_fd().to_string()).join(name);
    Ok(Reachable { _folder: folder, path })
}

pub fn bind(socket: &Path) -> Result<UnixListener, String> {
    let failed = |error: io::Error| format!("cannot listen on {socket:?}: {error}");
    let reachable = reachable(socket).map_err(failed)?;
    let _ = std::fs::remove_file(reachable.path());
    let before = umask(Mode::from_bits_truncate(0o177));
    let listener = UnixListener::bind(reachable.path());
    umask(before);
    let listener = listener.map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    Ok(listener)
}
