//! What outlives this master in its worker: the table in a memory file, and the socket by which the next master comes.
//!
//! Promises: after `kill -9` of the master, the next one for the same control socket adopts the worker with its listening
//! sockets and the table; no connection is closed, none refused. A message is written down after it was passed on, so the
//! file never holds what the worker has not been sent; a last message that was cut is left out, and the controller,
//! which is told the hashes, sends it again.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;

use super::door;
use super::link::Link;
use super::table::Table;
use crate::control::frame::{self, FrameReader};

/// The file is written anew when this much was appended, and more than it began with.
const APPENDED_BYTES: usize = 1 << 20;
const PATIENCE: Duration = Duration::from_secs(2);

pub struct Estate {
    /// The listening socket of the next master's way in.
    pub adopt: Arc<OwnedFd>,
    file: Option<File>,
    first_bytes: usize,
    appended_bytes: usize,
}

impl Estate {
    pub fn new(adopt: Arc<OwnedFd>) -> Self {
        Self { adopt, file: None, first_bytes: 0, appended_bytes: 0 }
    }

    /// The table in a new file, to be handed to the worker.
    pub fn write(&mut self, table: &Table) -> io::Result<Arc<OwnedFd>> {
        let mut file = in_memory(table)?;
        self.first_bytes = file.stream_position()? as usize;
        self.appended_bytes = 0;
        let copy = file.as_fd().try_clone_to_owned()?;
        self.file = Some(file);
        Ok(Arc::new(copy))
    }

    /// Adds a message. True: it is time to write the file anew.
    pub fn append(&mut self, body: &[u8]) -> bool {
        let Some(file) = &mut self.file else { return false };
        let bytes = frame::encode(body);
        self.appended_bytes += bytes.len();
        // A file that cannot be written (no memory) is as good as none: the next master starts with less.
        file.write_all(&bytes).is_err() || self.appended_bytes > APPENDED_BYTES.max(self.first_bytes)
    }
}

/// A memory file with the whole table, at its end.
pub fn in_memory(table: &Table) -> io::Result<File> {
    let memory = rustix::fs::memfd_create("fairlead-table", rustix::fs::MemfdFlags::CLOEXEC)?;
    let mut file = File::from(memory);
    for message in table.replay().messages() {
        file.write_all(&frame::encode(message))?;
    }
    Ok(file)
}

pub fn read_table(memory: OwnedFd) -> io::Result<Table> {
    let mut bytes = Vec::new();
    let mut file = File::from(memory);
    file.rewind()?;
    file.read_to_end(&mut bytes)?;
    let mut reader = FrameReader::resume(bytes);
    let mut table = Table::default();
    while let Some(message) = reader.next_frame()? {
        table.merge(&message);
    }
    Ok(table)
}

/// A worker that lost its master.
pub struct Orphan {
    pub pid: i32,
    pub link: Link,
    pub fds: Vec<(String, OwnedFd)>,
}

#[derive(Deserialize)]
struct Answer {
    pid: i32,
    sockets: Vec<String>,
}

/// The worker that waits by `socket`'s side, if there is one.
pub fn find_orphan(socket: &Path) -> Option<Orphan> {
    let stream = UnixStream::connect(door::reachable(&path_of(socket)).ok()?.path()).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    stream.set_write_timeout(Some(PATIENCE)).ok()?;
    let mut sending = &stream;
    sending.write_all(&frame::encode(br#"{"type":"adopt"}"#)).ok()?;
    let mut reader = FrameReader::default();
    let answer: Answer = loop {
        let Some(body) = reader.next_frame().ok()? else {
            if reader.read_from(&stream).ok()? == 0 {
                return None;
            }
            continue;
        };
        // Events that waited for a master may come first.
        if let Ok(answer) = serde_json::from_slice(&body) {
            break answer;
        }
    };
    let fds = reader.take_fds(answer.sockets.len());
    let fds = answer.sockets.into_iter().zip(fds).collect();
    let mut link = Link::new(stream).ok()?;
    link.reader = reader;
    Some(Orphan { pid: answer.pid, link, fds })
}

pub fn path_of(socket: &Path) -> PathBuf {
    socket.with_extension("adopt")
}
