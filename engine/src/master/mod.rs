//! The master: owns the control socket, the listening sockets and the last good table; keeps a worker running.
//!
//! Promises (docs/protocol.md): a worker that dies is replaced at once, with the same sockets and the whole table; it works
//! without a controller; a controller that comes back is told what is here and sends only the rest; `upgrade` replaces
//! master and worker without a connection lost. Needs no Python and decides nothing. One thread, one poll loop. Refuses:
//! peers of another user (but root); messages of an older epoch.

mod door;
mod estate;
mod handover;
mod link;
mod options;
mod relay;
mod server;
pub mod table;
mod worker;
mod workers;

use std::process::ExitCode;

pub fn run(arguments: &[String]) -> ExitCode {
    let options = match options::parse(arguments) {
        Ok(options) => options,
        Err(message) => {
            complain!("fairlead-engine master: {message}\n{}", options::USAGE);
            return ExitCode::from(64);
        }
    };
    let result = if options.daemon { server::daemon(arguments) } else { server::run(options) };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            complain!("fairlead-engine master: {message}");
            ExitCode::FAILURE
        }
    }
}
