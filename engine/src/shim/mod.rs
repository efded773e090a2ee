//! The shim: parent of one pod's containers.

use std::process::ExitCode;

pub fn run(_arguments: &[String]) -> ExitCode {
    eprintln!("the shim is not part of this build yet");
    ExitCode::from(69)
}

pub fn init(_arguments: &[String]) -> ExitCode {
    eprintln!("init is not part of this build yet");
    ExitCode::from(69)
}
