//! The load tools of the benchmarks: `loadgen backend|closed|open|hold|abuse SPEC`, where SPEC is one JSON object (see
//! `spec`), and `loadgen app`, a backend that is a pod. A run prints one JSON object per line: the backend its ports, a generator its outcome. Generators never
//! retry and count every request that was due.

#![forbid(unsafe_code)]

mod abuse;
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
        "abuse" => abuse::run(spec::parse(spec)?),
        other => Err(io::Error::new(io::ErrorKind::InvalidInput, format!("unknown command {other}"))),
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    let (command, done) = match arguments.as_slice() {
        [_, command] if command == "app" => (command, spec::pod().and_then(backend::run)),
        [_, command, spec] => (command, run(command, spec)),
        _ => {
            eprintln!("usage: loadgen backend|closed|open|hold|abuse SPEC, or loadgen app");
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("loadgen {command}: {error}");
            ExitCode::FAILURE
        }
    }
}
