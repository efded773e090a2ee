//! `fairlead-engine simulate`: what an algorithm would do, under virtual time. Hidden: for `fairlead hpa replay` and tests.
//!
//! JSON lines on standard input: first the configuration (`world::Config`), then steps (`world::Step`); each step is
//! answered by one line (`world::Outcome`) at once, so that the asker may decide the next by it. Promises: the choices
//! are made by `balance`, as in traffic. Refuses: unknown fields and what cannot be, with exit code 65 and a reason.

mod peers;
mod server;
mod world;

#[cfg(test)]
mod tests;

use std::io::{self, BufRead, Write};
use std::process::ExitCode;

pub fn run(arguments: &[String]) -> ExitCode {
    if !arguments.is_empty() {
        complain!("simulate takes no arguments; JSON lines are read from standard input");
        return ExitCode::from(64);
    }
    match converse(io::stdin().lock(), io::stdout().lock()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            complain!("{reason}");
            ExitCode::from(65)
        }
    }
}

fn converse(input: impl BufRead, mut output: impl Write) -> Result<(), String> {
    let mut lines = input.lines().enumerate();
    let (_, first) = lines.next().ok_or("line 1: the configuration is missing")?;
    let mut world = world::World::new(read(1, first)?).map_err(|reason| format!("line 1: {reason}"))?;
    for (index, line) in lines {
        let number = index + 1;
        let outcome = world.step(&read(number, line)?).map_err(|reason| format!("line {number}: {reason}"))?;
        let text = serde_json::to_string(&outcome).map_err(|error| error.to_string())?;
        writeln!(output, "{text}").and_then(|()| output.flush()).map_err(|error| error.to_string())?;
    }
    Ok(())
}

fn read<T: serde::de::DeserializeOwned>(number: usize, line: io::Result<String>) -> Result<T, String> {
    let line = line.map_err(|error| error.to_string())?;
    serde_json::from_str(&line).map_err(|error| format!("line {number}: {error}"))
}
