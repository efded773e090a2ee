//! `fairlead-engine`: the master and worker that carry the traffic, and the shim that parents a process pod.
//!
//! Promises: nothing in here decides what a Kubernetes object means; it carries out the routing table that it is told
//! (docs/protocol.md). Refuses: arguments that it does not know, with exit code 64.

// engine/fuzz builds this file as its library.
#![cfg_attr(fuzzing, allow(dead_code))]
#![cfg_attr(not(test), deny(clippy::print_stderr))] // see voice.rs

#[macro_use]
mod voice;

mod balance;
mod control;
mod dns;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod h2;
mod health;
mod http;
mod master;
mod shim;
mod simulate;
mod stats;
mod table;
mod tcp;
mod tls;
mod udp;
mod worker;

#[cfg(test)]
mod tests;

use std::process::ExitCode;

const USAGE: &str = "usage: fairlead-engine COMMAND
  master --socket PATH [--uid N]     owns the listening sockets and keeps a worker running
  worker [--socket PATH] [--threads N]  carries traffic; without --socket its control connection is standard input
  shim DIR                           parent of one pod's containers, told by DIR/shim.json
  init ...                           first process of a container (used by the shim)
  version";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some((command, rest)) = arguments.split_first() else {
        complain!("{USAGE}");
        return ExitCode::from(64);
    };
    match command.as_str() {
        "master" => master::run(rest),
        "worker" => worker::run(rest),
        "shim" => shim::run(rest),
        "init" => shim::init(rest),
        "simulate" => simulate::run(rest),
        "version" | "--version" => {
            println!("fairlead-engine {}", env!("CARGO_PKG_VERSION"));
            ExitCode::SUCCESS
        }
        _ => {
            complain!("unknown command {command:?}\n{USAGE}");
            ExitCode::from(64)
        }
    }
}
