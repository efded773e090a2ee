//! One worker process: how it is started, and when the next one may be.
//!
//! Promises: as root, the worker runs as a user of its own, without capabilities and with `no_new_privs`; a worker that
//! dies is followed by the next at once, one that keeps dying of its start by the next after at most a quarter of a
//! second: a start costs some 10 ms of one core, and while no worker runs nobody is served.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::Arc;

use super::link::Link;
use super::options::Options;
use crate::shim::spawn::Report;
use crate::shim::stage::spec::Spec;

const FIRST_PAUSE_SECONDS: f64 = 0.05;
const MOST_PAUSE_SECONDS: f64 = 0.25;
/// A worker that lived this long did not die of its start.
const PROVEN_SECONDS: f64 = 0.5;

pub struct Worker {
    pub pid: i32,
    pub link: Link,
    /// What the second stage says when it cannot become a worker.
    pub report: Report,
    pub started_at: f64,
    /// Acks of the replay that are still to come; they are the master's, not the controller's.
    pub replaying: usize,
    /// Epoch and sequence that the replay brings it to.
    pub place: (u64, u64),
    /// What the acks of the replay refused.
    pub nacks: Vec<serde_json::Value>,
    /// Another master started it: its end is seen by its connection only.
    pub adopted: bool,
    /// It was told to finish what it has.
    pub ending: bool,
}

pub fn start(options: &Options, now: f64) -> io::Result<Worker> {
    let (channel, theirs) = UnixStream::pair()?;
    let (stage, init) = UnixStream::pair()?;
    let child = Command::new("/proc/self/exe")
        .arg0("fairlead-init")
        .arg("init")
        .stdin(OwnedFd::from(init))
        .stdout(Stdio::inherit())
        .stderr(Stdio::inherit())
        .spawn()?;
    let streams = [OwnedFd::from(theirs), own_stream(rustix::stdio::stdout())?, own_stream(rustix::stdio::stderr())?];
    let mut first = Link::new(stage.try_clone()?)?;
    first.send_raw(&serde_json::to_vec(&spec(options))?, streams.into_iter().map(Arc::new).collect())?;
    Ok(Worker {
        pid: child.id() as i32,
        link: Link::new(channel)?,
        report: Report::new(stage),
        started_at: now,
        replaying: 0,
        place: (0, 0),
        nacks: Vec::new(),
        adopted: false,
        ending: false,
    })
}

fn own_stream(fd: std::os::fd::BorrowedFd<'_>) -> io::Result<OwnedFd> {
    fd.try_clone_to_owned()
}

fn spec(options: &Options) -> Spec {
    let mut argv = vec!["/proc/self/exe".to_owned(), "worker".to_owned()];
    if let Some(threads) = options.threads {
        argv.extend(["--threads".to_owned(), threads.to_string()]);
    }
    let own_user = nix::unistd::Uid::effective().is_root() && has_user(options.uid);
    let env: BTreeMap<String, String> =
        std::env::vars().filter(|(name, _)| name.starts_with("RUST_") || name.starts_with("FAIRLEAD_")).collect();
    Spec {
        argv,
        env,
        uid: own_user.then_some(options.uid),
        gid: own_user.then_some(options.uid),
        no_new_privs: true,
        capabilities: Some(Vec::new()),
        streams: true,
        ..Spec::default()
    }
}

/// Whether this user namespace knows the user and group: one made without privilege knows only its maker.
fn has_user(id: u32) -> bool {
    ["/proc/self/uid_map", "/proc/self/gid_map"]
        .iter()
        .all(|path| std::fs::read_to_string(path).map_or(true, |map| is_mapped(&map, id)))
}

/// Lines of first id inside, first id outside, count (user_namespaces(7)).
fn is_mapped(map: &str, id: u32) -> bool {
    map.lines().any(|line| {
        let numbers: Vec<u64> = line.split_whitespace().filter_map(|word| word.parse().ok()).collect();
        matches!(numbers[..], [first, _, count] if (first..first + count).contains(&u64::from(id)))
    })
}

/// When the next worker may start: at once after one that had proven itself, later after each that had not.
#[derive(Debug, Default)]
pub struct Pauses {
    in_a_row: u32,
}

impl Pauses {
    pub fn after(&mut self, lived_seconds: f64) -> f64 {
        if lived_seconds >= PROVEN_SECONDS {
            self.in_a_row = 0;
        }
        let pause = match self.in_a_row {
            0 | 1 => 0.0,
            times => (FIRST_PAUSE_SECONDS * f64::from(2u32.saturating_pow(times - 2))).min(MOST_PAUSE_SECONDS),
        };
        self.in_a_row = self.in_a_row.saturating_add(1).min(16);
        pause
    }
}

/// Asks a binary whether it is an engine that can take over. Waits 2 s for its answer.
pub fn check_binary(path: &str) -> Result<(), String> {
    use std::time::{Duration, Instant};
    let failed = |error: io::Error| format!("cannot run {path:?}: {error}");
    let mut command = Command::new(path);
    command.arg("version").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().map_err(failed)?;
    let end = Instant::now() + Duration::from_secs(2);
    while child.try_wait().map_err(failed)?.is_none() {
        if Instant::now() > end {
            let _ = child.kill();
            let _ = child.wait();
            return Err(format!("{path:?} does not answer to `version`"));
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    let output = child.wait_with_output().map_err(failed)?;
    if output.status.success() && output.stdout.starts_with(b"fairlead-engine ") {
        return Ok(());
    }
    Err(format!("{path:?} is not a fairlead-engine"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_known_where_its_number_is_mapped() {
        assert!(is_mapped("         0          0 4294967295\n", 64735));
        assert!(!is_mapped("         0       1000          1\n", 64735));
        assert!(is_mapped("0 1000 1\n1 100000 65536\n", 64735));
    }

    #[test]
    fn the_first_deaths_cost_no_pause_and_a_row_of_them_a_short_one() {
        let mut pauses = Pauses::default();
        let row: Vec<f64> = (0..12).map(|_| pauses.after(0.1)).collect();
        assert_eq!(row[..4], [0.0, 0.0, 0.05, 0.1]);
        assert_eq!(row[11], MOST_PAUSE_SECONDS);
        assert_eq!(pauses.after(60.0), 0.0);
    }

    #[test]
    fn a_worker_that_is_killed_again_and_again_is_followed_at_once_each_time() {
        let mut pauses = Pauses::default();
        assert!((0..20).all(|_| pauses.after(1.0) == 0.0));
    }
}
