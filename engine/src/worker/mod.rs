//! The worker: one event loop per core, told over its control connection what to carry.
//!
//! Its control connection is standard input (a socketpair's end that the master made), or a connection to `--socket`.
//! The master hands the listening statistics socket over as the socket id `stats`.

use std::process::ExitCode;

pub fn run(_arguments: &[String]) -> ExitCode {
    eprintln!("the worker is not part of this build yet");
    ExitCode::from(69)
}
