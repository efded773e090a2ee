//! Starting a process: a forked child goes through the second stage (`stage`), whose report comes back.
//!
//! The shim has one thread, so what is forked may do anything before it executes the command; a fresh process of this
//! binary in between would be loaded and relocated for nothing.

use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use fork::Fork;
use rustix::pipe::PipeFlags;

use super::output::Pipes;
use super::stage::spec::Spec;
use super::{launch, stage, terminal};

/// A process that may still be on its way to its command.
pub struct Spawned {
    pub pid: i32,
    pub pipes: Pipes,
    /// Where its standard input is written.
    pub input: Option<OwnedFd>,
    pub report: Report,
}

/// What the second stage says of itself. `channel` is `None` once all was said.
pub struct Report {
    pub channel: Option<UnixStream>,
    text: Vec<u8>,
}

impl Report {
    /// The parent's end of the second stage's standard input.
    pub fn new(channel: UnixStream) -> Self {
        Self { channel: Some(channel), text: Vec::new() }
    }

    /// Of a process whose second stage ended long ago.
    pub fn over() -> Self {
        Self { channel: None, text: Vec::new() }
    }

    /// Takes what is there. `true` once all was said.
    pub fn read(&mut self) -> bool {
        let Some(channel) = &mut self.channel else { return true };
        let mut piece = [0u8; 2048];
        loop {
            match channel.read(&mut piece) {
                Ok(0) => break,
                Ok(length) => self.text.extend_from_slice(&piece[..length]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return false,
                Err(_) => break,
            }
        }
        self.channel = None;
        true
    }

    /// The pid as the host's /proc has it.
    pub fn host_pid(&self) -> Option<i32> {
        let text = String::from_utf8_lossy(&self.text);
        text.lines().find_map(|line| line.strip_prefix("pid ")?.parse().ok())
    }

    pub fn failure(&self) -> Option<String> {
        let text = String::from_utf8_lossy(&self.text);
        Some(text.split_once("error ")?.1.to_owned())
    }
}

/// What a process's standard streams are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Streams {
    /// No input; output and errors in pipes.
    #[default]
    Output,
    /// A pipe each.
    Piped,
    /// A terminal for all three.
    Terminal { width: u16, height: u16 },
}

pub fn spawn(spec: &Spec, streams: Streams) -> Result<Spawned, String> {
    let failed = |error: io::Error| format!("cannot start a process: {error}");
    let (theirs, input, pipes) = open_streams(spec, streams).map_err(failed)?;
    let terminal = matches!(streams, Streams::Terminal { .. });
    let (ours, channel) = UnixStream::pair().map_err(failed)?;
    let pid = match launch::fork().map_err(failed)? {
        Fork::Child => stage::become_here(spec, theirs, terminal, channel),
        Fork::Parent(pid) => pid,
    };
    ours.set_nonblocking(true).map_err(failed)?;
    Ok(Spawned { pid, pipes, input, report: Report::new(ours) })
}

type Ends = ([OwnedFd; 3], Option<OwnedFd>, Pipes);

/// The process's three ends, and ours.
fn open_streams(spec: &Spec, streams: Streams) -> io::Result<Ends> {
    if let Streams::Terminal { width, height } = streams {
        let (ours, theirs) = terminal::open(spec.uid, width, height)?;
        let input = ours.try_clone()?;
        let all = [theirs.try_clone()?, theirs.try_clone()?, theirs];
        return Ok((all, Some(input), Pipes::new(ours, None)));
    }
    let (stdout, out) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
    let (stderr, errors) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
    let (theirs, input) = if streams == Streams::Piped {
        let (theirs, input) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
        (theirs, Some(unblocked(input)?))
    } else {
        (std::fs::File::open("/dev/null")?.into(), None)
    };
    let pipes = Pipes::new(unblocked(stdout)?, Some(unblocked(stderr)?));
    Ok(([theirs, out, errors], input, pipes))
}

fn unblocked(fd: OwnedFd) -> io::Result<OwnedFd> {
    rustix::io::ioctl_fionbio(&fd, true)?;
    Ok(fd)
}
