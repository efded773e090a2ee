//! The second stage: a process that turns itself into the container's process.
//!
//! It takes namespaces, mounts, cgroups, limits, identity and capabilities in that order, and then executes the command
//! in its own place. The shim forks a child that does so (`become_here`); the master, which has threads, starts
//! `fairlead-engine init`, which reads its `Spec` from standard input (a socket).
//!
//! Promises: the parent reads `pid N` (in the namespace of the /proc that the parent sees), then the end of the stream
//! once the command runs, or `error TEXT` that names what failed. Refuses: going on after any step that failed.

mod command;
mod mirror;
mod mounts;
mod privileges;
pub mod spec;

use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;

use super::launch;
use crate::control::frame;
use spec::Spec;

/// The exit code of a process that never became its command (as `docker run` has it).
const NEVER_STARTED: u8 = 128;

pub fn run() -> ExitCode {
    let Ok(channel) = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3) else {
        return ExitCode::from(NEVER_STARTED);
    };
    let mut channel = UnixStream::from(channel);
    let message = match receive(&channel) {
        Ok((spec, streams)) => report(become_command(&mut channel, &spec, streams)),
        Err(error) => format!("cannot read what to start: {error}"),
    };
    tell(&mut channel, &message);
    ExitCode::from(NEVER_STARTED)
}

/// The calling process becomes that command, with those standard streams, or ends.
pub fn become_here(spec: &Spec, streams: [OwnedFd; 3], terminal: bool, mut channel: UnixStream) -> ! {
    let spec = Spec { streams: true, terminal, ..spec.clone() };
    let message = report(become_command(&mut channel, &spec, streams.into()));
    tell(&mut channel, &message);
    std::process::exit(i32::from(NEVER_STARTED))
}

fn report(result: Result<std::convert::Infallible, String>) -> String {
    match result {
        Ok(never) => match never {},
        Err(message) => message,
    }
}

fn tell(channel: &mut UnixStream, message: &str) {
    // Nobody is left to tell when this fails.
    let _ = channel.write_all(format!("error {message}").as_bytes());
}

fn become_command(
    channel: &mut UnixStream,
    spec: &Spec,
    streams: Vec<OwnedFd>,
) -> Result<std::convert::Infallible, String> {
    announce(channel)?;
    take_streams(spec, streams).map_err(|error| format!("cannot take the standard streams: {error}"))?;
    nix::unistd::setsid().map_err(|error| format!("cannot make a session: {error}"))?;
    if spec.terminal {
        rustix::process::ioctl_tiocsctty(rustix::stdio::stdin())
            .map_err(|error| format!("cannot take the terminal: {error}"))?;
    }
    privileges::join_cgroups(&spec.cgroups)?;
    if let Some(path) = &spec.enter {
        mounts::enter(path)?;
    }
    if let Some(plan) = &spec.mounts {
        mounts::apply(plan)?;
    }
    privileges::set_limits(&spec.rlimits)?;
    privileges::become_user(spec)?;
    if spec.die_with_parent {
        // After the change of user, which clears it.
        nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL)
            .map_err(|error| format!("cannot tie the process to its parent: {error}"))?;
    }
    // The shim reads its own signals from a descriptor and so blocks them; a container must be able to get SIGTERM.
    nix::sys::signal::SigSet::empty().thread_set_mask().map_err(|error| format!("cannot unblock signals: {error}"))?;
    command::execute(spec)
}

fn receive(channel: &UnixStream) -> io::Result<(Spec, Vec<OwnedFd>)> {
    let mut reader = frame::FrameReader::default();
    loop {
        if let Some(json) = reader.next_frame()? {
            let spec: Spec = serde_json::from_slice(&json)?;
            let streams = reader.take_fds(3);
            return Ok((spec, streams));
        }
        if reader.read_from(channel)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

/// Tells the parent our pid as the parent's /proc has it.
fn announce(channel: &mut UnixStream) -> Result<(), String> {
    let line = format!("pid {}\n", launch::pid_outside());
    channel.write_all(line.as_bytes()).map_err(|error| format!("cannot tell the pid: {error}"))
}

fn take_streams(spec: &Spec, streams: Vec<OwnedFd>) -> io::Result<()> {
    if spec.streams {
        let [input, output, errors]: [OwnedFd; 3] =
            streams.try_into().map_err(|_| io::Error::other("three descriptors are needed"))?;
        rustix::stdio::dup2_stdin(input)?;
        rustix::stdio::dup2_stdout(output)?;
        rustix::stdio::dup2_stderr(errors)?;
    } else {
        rustix::stdio::dup2_stdin(std::fs::File::open("/dev/null")?)?;
    }
    Ok(())
}
