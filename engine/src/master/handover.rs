//! `upgrade`: this process becomes another binary, with all that it holds.
//!
//! Promises: the pid stays, so do the control connection, the sockets and the table; the old worker serves until a new one
//! works by the table, then finishes what it has and ends. How: everything goes into a socket pair (descriptors and a
//! header) and a memory file (the table, and behind it a header that is too large for a socket that nobody reads yet), the other
//! end becomes standard input, and the new binary is executed in place.
//! Refuses: nothing half-way; when the new binary cannot be executed, all goes on as before.

use std::convert::Infallible;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::link::Link;
use super::options::Options;
use super::server::{self, Master};
use super::worker::Worker;
use super::{door, estate};
use crate::control::frame::FrameReader;
use crate::shim::clock;
use crate::shim::spawn::Report;

/// How long connections of before an upgrade may live.
pub const RETIRED_GRACE_SECONDS: f64 = 3600.0;

/// What the descriptors are, in their order; the first four always come.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Header {
    options: Options,
    restarts: u64,
    controller: bool,
    /// The start of a message that the controller was about to finish.
    controller_rest: Vec<u8>,
    /// Pids, and whether another master started them.
    workers: Vec<(i32, bool)>,
    sockets: Vec<String>,
}

/// A header that is in the memory file: where, and how many descriptors come.
#[derive(Serialize, Deserialize)]
struct Elsewhere {
    header_at: u64,
    descriptors: usize,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum First {
    Elsewhere(Elsewhere),
    Header(Box<Header>),
}

/// A socket pair holds as much in any case. Thousands of Listeners, or a message that has half come, are more.
const MOST_HEADER_BYTES: usize = 64 << 10;
/// Where the memory file is among the descriptors.
const MEMORY: usize = 3;

/// Writes the header and the descriptors, which nobody reads before the new binary does. `memory` may get the header.
fn write(header: &Header, memory: &mut File, fds: Vec<Arc<OwnedFd>>) -> io::Result<(Link, UnixStream)> {
    let (ours, theirs) = UnixStream::pair()?;
    let mut json = serde_json::to_vec(header)?;
    if json.len() > MOST_HEADER_BYTES {
        let header_at = memory.seek(SeekFrom::End(0))?;
        memory.write_all(&json)?;
        json = serde_json::to_vec(&Elsewhere { header_at, descriptors: fds.len() })?;
    }
    let mut link = Link::new(ours)?;
    link.send_raw(&json, fds)?;
    link.flush_whole()?;
    Ok((link, theirs))
}

fn read(input: &UnixStream) -> io::Result<(Header, Vec<OwnedFd>)> {
    let mut reader = FrameReader::default();
    let first = loop {
        if let Some(body) = reader.next_frame()? {
            break serde_json::from_slice(&body)?;
        }
        if reader.read_from(input)? == 0 {
            return Err(io::Error::other("nothing on standard input"));
        }
    };
    let count = match &first {
        First::Elsewhere(elsewhere) => elsewhere.descriptors,
        First::Header(header) => 4 + usize::from(header.controller) + header.workers.len() + header.sockets.len(),
    };
    let mut fds = reader.take_fds(count);
    if fds.len() != count || count <= MEMORY {
        return Err(io::Error::other(format!("{count} descriptors were handed over and {} came", fds.len())));
    }
    let header = match first {
        First::Header(header) => *header,
        First::Elsewhere(Elsewhere { header_at, .. }) => {
            let mut memory = File::from(fds[MEMORY].try_clone()?);
            memory.seek(SeekFrom::Start(header_at))?;
            let mut json = Vec::new();
            memory.read_to_end(&mut json)?;
            memory.set_len(header_at)?;
            serde_json::from_slice(&json)?
        }
    };
    fds.shrink_to_fit();
    Ok((header, fds))
}

pub fn hand_over(master: &mut Master, path: &str) -> Result<Infallible, String> {
    let failed = |what: &str, error: std::io::Error| format!("{what}: {error}");
    if master.controller.as_mut().is_some_and(|link| link.flush_whole().is_err()) {
        master.controller = None;
    }
    let workers = || master.worker.iter().chain(&master.retired);
    let header = Header {
        options: master.options.clone(),
        restarts: master.restarts,
        controller: master.controller.is_some(),
        controller_rest: master.controller.as_ref().map_or(Vec::new(), |link| link.reader.rest().to_vec()),
        workers: workers().map(|worker| (worker.pid, worker.adopted)).collect(),
        sockets: master.sockets.keys().cloned().collect(),
    };
    let mut memory = estate::in_memory(&master.table).map_err(|error| failed("cannot write down the table", error))?;
    let copy = |fd: std::os::fd::BorrowedFd<'_>| fd.try_clone_to_owned().map(Arc::new);
    let mut fds =
        vec![copy(master.listener.as_fd()), Ok(master.stats.clone()), Ok(master.lock.clone()), copy(memory.as_fd())];
    fds.extend(master.controller.iter().map(|link| copy(link.stream.as_fd())));
    fds.extend(workers().map(|worker| copy(worker.link.stream.as_fd())));
    fds.extend(master.sockets.values().map(|fd| Ok(fd.clone())));
    let fds =
        fds.into_iter().collect::<Result<Vec<_>, _>>().map_err(|error| failed("cannot copy descriptors", error))?;
    let written = write(&header, &mut memory, fds);
    let (_kept_open, theirs) = written.map_err(|error| failed("cannot write the handover", error))?;
    let error =
        Command::new(path).arg0("fairlead-engine").args(["master", "--takeover"]).stdin(OwnedFd::from(theirs)).exec();
    // exec unblocks signals before it fails.
    let _ = server::take_over_signals();
    Err(format!("cannot execute {path:?}: {error}"))
}

/// The new binary's beginning: everything comes from standard input.
pub fn receive() -> Result<Master, String> {
    let input = rustix::stdio::stdin().try_clone_to_owned().map_err(|error| format!("no handover: {error}"))?;
    let (header, fds) = read(&UnixStream::from(input)).map_err(|error| format!("no handover: {error}"))?;
    rebuild(header, fds)
}

fn rebuild(header: Header, fds: Vec<OwnedFd>) -> Result<Master, String> {
    let mut fds = fds.into_iter();
    let mut next = || fds.next().ok_or("a descriptor is missing");
    let listener = UnixListener::from(next()?);
    let (stats, lock, memory) = (next()?, next()?, next()?);
    let adopt = door::bind(&estate::path_of(&header.options.socket))?;
    let mut master = Master::new(header.options, Arc::new(lock), listener, Arc::new(stats), Arc::new(adopt.into()))?;
    master.restarts = header.restarts;
    master.table = estate::read_table(memory).map_err(|error| format!("cannot read the table: {error}"))?;
    let failed = |error: std::io::Error| format!("cannot take a connection over: {error}");
    if header.controller {
        let mut link = Link::new(UnixStream::from(next()?)).map_err(failed)?;
        link.reader = FrameReader::resume(header.controller_rest);
        master.controller = Some(link);
    }
    for (pid, adopted) in header.workers {
        let link = Link::new(UnixStream::from(next()?)).map_err(failed)?;
        let started_at = clock::monotonic_seconds();
        master.retired.push(Worker {
            pid,
            link,
            report: Report::over(),
            started_at,
            replaying: 0,
            place: (0, 0),
            nacks: Vec::new(),
            adopted,
            ending: false,
        });
    }
    for id in header.sockets {
        master.sockets.insert(id, Arc::new(next()?));
    }
    // One that died while nobody looked.
    master.reap();
    Ok(master)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::master::table::Table;

    /// What comes out at the other end, with how much of the memory file is the table's.
    fn handed_over(sockets: Vec<String>) -> (Header, usize, u64) {
        let options = crate::master::options::parse(&["--socket".to_owned(), "/run/x".to_owned()]).unwrap();
        let header =
            Header { options, restarts: 1, controller: false, controller_rest: vec![1, 2], workers: vec![], sockets };
        let mut memory = estate::in_memory(&Table::default()).unwrap();
        let table_bytes = memory.metadata().unwrap().len();
        let copy = || Arc::new(memory.as_fd().try_clone_to_owned().unwrap());
        let fds: Vec<_> = (0..4 + header.sockets.len()).map(|_| copy()).collect();
        let (_open, theirs) = write(&header, &mut memory, fds).unwrap();
        let (found, fds) = read(&theirs).unwrap();
        assert_eq!(found, header);
        assert_eq!(memory.metadata().unwrap().len(), table_bytes);
        (found, fds.len(), table_bytes)
    }

    #[test]
    fn a_header_goes_over_however_large_it_is() {
        assert_eq!(handed_over(vec!["tcp:127.0.0.1:80".to_owned()]).1, 5);
        let large = (0..300).map(|n| format!("tcp:{n}:{}", "x".repeat(2000))).collect();
        assert_eq!(handed_over(large).1, 304);
    }
}
