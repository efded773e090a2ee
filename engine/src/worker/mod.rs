//! The worker: one event loop per core, told over its control connection what to carry.
//!
//! Its control connection is standard input (a socketpair's end that the master made), or, for tests and for use without a
//! master, whoever connects to `--socket PATH`; then `stats.sock` is made beside it. The master hands the listening
//! statistics socket over as the socket id `stats`. When the master dies, the worker carries on and waits for the next one (`estate`).

mod accept;
pub mod age;
mod checks;
pub mod clock;
pub mod context;
pub mod control;
pub mod deadline;
pub mod estate;
pub mod resolver;
pub mod thread;
pub mod turn;

use std::os::fd::AsFd;
use std::process::ExitCode;
use std::rc::Rc;

use tokio::net::UnixListener;

use crate::control::channel::Channel;

/// How long requests may go on when the master is gone.
const ORPHAN_GRACE_SECONDS: f64 = 30.0;

struct Options {
    socket: Option<std::path::PathBuf>,
    threads: usize,
}

fn parse(arguments: &[String]) -> Result<Options, String> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let mut options = Options { socket: None, threads: cores };
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        let value = rest.next().ok_or_else(|| format!("{argument} needs a value"))?;
        match argument.as_str() {
            "--socket" => options.socket = Some(value.into()),
            "--threads" => {
                options.threads = value.parse().ok().filter(|n| *n > 0).ok_or("--threads needs a number above 0")?;
            }
            _ => return Err(format!("unknown argument {argument:?}")),
        }
    }
    Ok(options)
}

pub fn run(arguments: &[String]) -> ExitCode {
    let options = match parse(arguments) {
        Ok(options) => options,
        Err(message) => {
            complain!("worker: {message}");
            return ExitCode::from(64);
        }
    };
    match start(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain!("worker: {error}");
            ExitCode::FAILURE
        }
    }
}

fn start(options: &Options) -> std::io::Result<()> {
    let threads = thread::start(options.threads)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(tokio::runtime::LocalOptions::default())?;
    runtime.block_on(async {
        let control = control::Control::new(threads);
        match &options.socket {
            None => {
                let channel = Channel::from_fd(std::io::stdin().as_fd().try_clone_to_owned()?)?;
                follow_masters(&control, channel).await;
                Ok(())
            }
            Some(path) => alone(&control, path).await,
        }
    })
}

/// Serves one master after another; without one, carries on until the next comes or none is to be expected.
async fn follow_masters(control: &Rc<control::Control>, first: Channel) {
    let mut next = Some(first);
    while let Some(channel) = next {
        match control.serve(channel).await {
            Ok(true) => return,
            Ok(false) | Err(_) => next = control.estate.next_master().await,
        }
    }
    control.shut_down(ORPHAN_GRACE_SECONDS).await;
}

/// Without a master: serves one controller after another, a newer one replaces the older.
async fn alone(control: &Rc<control::Control>, path: &std::path::Path) -> std::io::Result<()> {
    let listener = bind_private(path)?;
    control.serve_statistics(bind_private(&path.with_file_name("stats.sock"))?);
    let (mut channel, _) = listener.accept().await?;
    loop {
        let newer = {
            let serving = control.serve(Channel::new(channel));
            let mut serving = std::pin::pin!(serving);
            tokio::select! {
                ended = &mut serving => match ended {
                    Ok(true) => return Ok(()),
                    _ => None,
                },
                accepted = listener.accept() => Some(accepted?),
            }
        };
        channel = match newer {
            Some((channel, _)) => channel,
            None => listener.accept().await?.0,
        };
    }
}

fn bind_private(path: &std::path::Path) -> std::io::Result<UnixListener> {
    use std::os::unix::fs::PermissionsExt;
    let _ = std::fs::remove_file(path);
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}
