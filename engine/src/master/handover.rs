//! `upgrade`: this process becomes another binary, with all that it holds.
//!
//! Promises: the pid stays, so do the control connection, the sockets and the table; the old worker serves until a new one
//! works by the table, then finishes what it has and ends. How: everything goes into a socket pair (descriptors and a
//! header) and a memory file (the table), the other end becomes standard input, and the new binary is executed in place.
//! Refuses: nothing half-way; when the new binary cannot be executed, all goes on as before.

use std::convert::Infallible;
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
#[derive(Serialize, Deserialize)]
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
    let memory = estate::in_memory(&master.table)
        .map(|file| Arc::new(file.into()))
        .map_err(|error| failed("cannot write down the table", error))?;
    let copy = |fd: std::os::fd::BorrowedFd<'_>| fd.try_clone_to_owned().map(Arc::new);
    let mut fds = vec![copy(master.listener.as_fd()), Ok(master.stats.clone()), Ok(master.lock.clone()), Ok(memory)];
    fds.extend(master.controller.iter().map(|link| copy(link.stream.as_fd())));
    fds.extend(workers().map(|worker| copy(worker.link.stream.as_fd())));
    fds.extend(master.sockets.values().map(|fd| Ok(fd.clone())));
    let fds =
        fds.into_iter().collect::<Result<Vec<_>, _>>().map_err(|error| failed("cannot copy descriptors", error))?;
    let (ours, theirs) = UnixStream::pair().map_err(|error| failed("cannot make a socket pair", error))?;
    let sent = Link::new(ours).and_then(|mut link| {
        link.send_raw(&serde_json::to_vec(&header)?, fds)?;
        link.flush_whole()?;
        Ok(link)
    });
    let _kept_open = sent.map_err(|error| failed("cannot write the handover", error))?;
    let error =
        Command::new(path).arg0("fairlead-engine").args(["master", "--takeover"]).stdin(OwnedFd::from(theirs)).exec();
    // exec unblocks signals before it fails.
    let _ = server::take_over_signals();
    Err(format!("cannot execute {path:?}: {error}"))
}

/// The new binary's beginning: everything comes from standard input.
pub fn receive() -> Result<Master, String> {
    let input = rustix::stdio::stdin().try_clone_to_owned().map_err(|error| format!("no handover: {error}"))?;
    let input = UnixStream::from(input);
    let mut reader = FrameReader::default();
    let header: Header = loop {
        let frame = reader.next_frame().map_err(|error| format!("no handover: {error}"))?;
        if let Some(body) = frame {
            break serde_json::from_slice(&body).map_err(|error| format!("no handover: {error}"))?;
        }
        if reader.read_from(&input).map_err(|error| format!("no handover: {error}"))? == 0 {
            return Err("no handover on standard input".to_owned());
        }
    };
    let count = 4 + usize::from(header.controller) + header.workers.len() + header.sockets.len();
    let fds = reader.take_fds(count);
    if fds.len() != count {
        return Err(format!("{count} descriptors were handed over and {} came", fds.len()));
    }
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
