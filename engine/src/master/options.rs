//! The master's arguments.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub const USAGE: &str = "usage: fairlead-engine master --socket PATH [--uid N] [--threads N] [--daemon]
  --socket PATH  the control socket; stats.sock is made beside it
  --uid N        the worker's user and group when the master is root (64735 unless given)
  --threads N    the worker's event loops (one per core unless given)
  --daemon       return once the socket listens";

/// A user that nothing else has: outside of the ranges of adduser, systemd and container engines.
const WORKER_UID: u32 = 64735;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Options {
    pub socket: PathBuf,
    pub uid: u32,
    pub threads: Option<u32>,
    #[serde(skip)]
    pub daemon: bool,
    /// Say "ready" on standard input once the socket listens (how `--daemon` starts the master).
    #[serde(skip)]
    pub announce: bool,
    /// A handover waits on standard input (how `upgrade` starts the new binary).
    #[serde(skip)]
    pub takeover: bool,
}

pub fn parse(arguments: &[String]) -> Result<Options, String> {
    let mut options = Options {
        socket: PathBuf::new(),
        uid: WORKER_UID,
        threads: None,
        daemon: false,
        announce: false,
        takeover: false,
    };
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        let mut value = || rest.next().ok_or_else(|| format!("{argument} needs a value"));
        match argument.as_str() {
            "--socket" => options.socket = value()?.into(),
            "--uid" => options.uid = number(argument, value()?)?,
            "--threads" => options.threads = Some(number(argument, value()?)?),
            "--daemon" => options.daemon = true,
            "--announce" => options.announce = true,
            "--takeover" => options.takeover = true,
            _ => return Err(format!("unknown argument {argument:?}")),
        }
    }
    if options.socket.as_os_str().is_empty() && !options.takeover {
        return Err("--socket is needed".to_owned());
    }
    Ok(options)
}

fn number(argument: &str, text: &str) -> Result<u32, String> {
    text.parse().ok().filter(|number| *number > 0).ok_or_else(|| format!("{argument} needs a number above 0"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Options, String> {
        parse(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn arguments_are_read_and_mistakes_are_named() {
        let options = parsed("--socket /run/x.sock --uid 7 --threads 2").unwrap();
        assert_eq!((options.uid, options.threads), (7, Some(2)));
        assert_eq!(parsed("--uid 7").unwrap_err(), "--socket is needed");
        assert!(parsed("--socket x --threads none").unwrap_err().contains("--threads"));
        assert!(parsed("--socket").unwrap_err().contains("needs a value"));
    }
}
