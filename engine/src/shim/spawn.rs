//! Starting a process through the second stage (`stage`): the spec goes in, the report comes back.

use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use super::launch;
use super::output::Pipes;
use super::stage::spec::Spec;
use crate::control::frame;

/// A process that may still be on its way to its command.
pub struct Spawned {
    pub pid: i32,
    pub pipes: Pipes,
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

pub fn spawn(spec: &Spec) -> Result<Spawned, String> {
    let failed = |error: io::Error| format!("cannot start a process: {error}");
    let (mut ours, theirs) = UnixStream::pair().map_err(failed)?;
    let mut child = Command::new(launch::own_path())
        .arg0("fairlead-init")
        .arg("init")
        .env_clear()
        .stdin(OwnedFd::from(theirs))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    let json = serde_json::to_vec(spec).map_err(|error| format!("cannot write the spec: {error}"))?;
    // A stage that died has its exit seen; that it did not read is no news then.
    let _ = ours.write_all(&frame::encode(&json));
    ours.set_nonblocking(true).map_err(failed)?;
    let pipes = Pipes {
        stdout: child.stdout.take().map(|pipe| unblocked(pipe.into())).transpose().map_err(failed)?,
        stderr: child.stderr.take().map(|pipe| unblocked(pipe.into())).transpose().map_err(failed)?,
    };
    // std's Child neither kills nor waits when it is dropped; the server reaps by pid.
    Ok(Spawned { pid: child.id() as i32, pipes, report: Report::new(ours) })
}

fn unblocked(fd: OwnedFd) -> io::Result<OwnedFd> {
    rustix::io::ioctl_fionbio(&fd, true)?;
    Ok(fd)
}
