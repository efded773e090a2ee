//! The shim: parent and init of one pod's containers, and the only process of ours that a pod needs.
//!
//! Promises (docs/protocol.md, "The shim of a process pod"): it outlives whoever started it; a container's output is in
//! its log file and its exit on disk before anybody is told; no zombie and no orphan of the pod is left; memory is
//! bounded whatever the containers print. One thread, one poll loop, no runtime: an idle pod must cost next to nothing.
//! Refuses: peers of another user (but root); a second shim in the same folder.

mod children;
mod client;
pub mod clock;
mod config;
mod containers;
mod dial;
mod execs;
mod exits;
mod input;
mod kill;
mod launch;
mod logs;
mod loopback;
mod netlink;
mod output;
mod prepare;
mod probes;
mod reaping;
mod requests;
mod server;
pub mod spawn;
mod spawner;
pub mod stage;
mod streams;
mod terminal;
mod wire;

use std::path::PathBuf;
use std::process::ExitCode;

const USAGE: &str = "usage: fairlead-engine shim DIR [--daemon|--spawner]
  DIR       the pod's folder; shim.json in it says what to make
  --daemon  return once DIR/shim.sock listens; the shim goes on in a session of its own
  --spawner starts shims in folders of DIR, as it is told on standard input (a socket), until that closes";

pub fn run(arguments: &[String]) -> ExitCode {
    let (flags, places): (Vec<&String>, Vec<&String>) = arguments.iter().partition(|one| one.starts_with("--"));
    let [directory] = places[..] else { return refuse() };
    let result = match flags.iter().map(|flag| flag.as_str()).collect::<Vec<_>>()[..] {
        [] => launch::foreground(&PathBuf::from(directory)),
        ["--daemon"] => launch::daemon(&PathBuf::from(directory)),
        ["--spawner"] => spawner::run(&PathBuf::from(directory)),
        _ => return refuse(),
    };
    match result {
        Ok(code) => ExitCode::from(code),
        Err(message) => {
            complain!("fairlead-engine shim: {message}");
            ExitCode::FAILURE
        }
    }
}

pub fn init(_arguments: &[String]) -> ExitCode {
    stage::run()
}

fn refuse() -> ExitCode {
    complain!("{USAGE}");
    ExitCode::from(64)
}
