//! The load tools of the benchmarks: `loadgen backend|closed|open|hold SPEC`, where SPEC is one JSON object (see
//! `spec`). A run prints one JSON object per line: the backend its ports, a generator its outcome. Generators never
//! retry and count every request that was due.

#![forbid(unsafe_code)]

mod alarm;
mod backend;
mod client;
mod closed;
mod histogram;
mod hold;
mod open;
mod outcome;
mod random;
mod simulate;
mod spec;
mod wire;

use std::io;
use std::process::ExitCode;

fn run(command: &str, spec: &str) -> io::Result<()> {
    match command {
        "backend" => backend::run(spec::parse(spec)?),
        "closed" => closed::run(spec::parse(spec)?),
        "open" => open::run(spec::parse(spec)?),
        "hold" => hold::run(spec::parse(spec)?),
        other => Err(io::Error::new(io::ErrorKind::InvalidInput, format!("unknown command {other}"))),
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, command, spec] = arguments.as_slice() else {
        eprintln!("usage: loadgen backend|closed|open|hold SPEC");
        return ExitCode::from(2);
    };
    match run(command, spec) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("loadgen {command}: {error}");
            ExitCode::FAILURE
        }
    }
}
