//! One core's event loop: accepts, serves, and follows the control thread's commands in order.
//!
//! Promises: a command's `done` is told after the thread works by it.

use std::collections::HashMap;
use std::io;
use std::net::{TcpListener as StdListener, UdpSocket as StdUdpSocket};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::{mpsc, oneshot};
use tokio::task::{AbortHandle, spawn_local};

use super::accept;
use super::context::{Closing, Context};
use crate::http::pool;
use crate::table::Table;

/// How long after the last door's end an idle client may still ask: who sends now must not meet a close.
pub const IDLE_LAST: Duration = Duration::from_secs(1);

pub enum Command {
    Table(Arc<Table>, oneshot::Sender<()>),
    Listen(String, StdListener),
    ListenUdp(String, StdUdpSocket),
    /// Nothing more is accepted from these sockets.
    Unlisten(Arc<[String]>, oneshot::Sender<()>),
    /// What a socket that is about to be closed has in its queue is served.
    AcceptLast(String, StdListener, oneshot::Sender<()>),
    /// Tasks look at what has changed.
    Wake,
    /// There is no door left: waits until those who came in have gone, or have had their time to ask on.
    SeeOut(oneshot::Sender<()>),
    /// Idle connections to endpoints that are going are closed.
    Settle(oneshot::Sender<()>),
    ShutDown(f64, oneshot::Sender<()>),
}

pub type Threads = Vec<mpsc::UnboundedSender<Command>>;

pub fn start(count: usize) -> io::Result<Threads> {
    (0..count)
        .map(|index| {
            let (sender, receiver) = mpsc::unbounded_channel();
            let runtime = std::thread::Builder::new().name(format!("carry-{index}"));
            runtime.spawn(move || run(index, receiver))?;
            Ok(sender)
        })
        .collect()
}

fn run(index: usize, receiver: mpsc::UnboundedReceiver<Command>) {
    let seed = std::process::id() as u64 ^ ((index as u64) << 32) ^ clock_seed();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(tokio::runtime::LocalOptions::default())
        .expect("a thread's event loop");
    runtime.block_on(follow(Context::new(seed), receiver));
}

fn clock_seed() -> u64 {
    std::time::UNIX_EPOCH.elapsed().map_or(0, |d| d.as_nanos() as u64)
}

async fn follow(context: Rc<Context>, mut receiver: mpsc::UnboundedReceiver<Command>) {
    let mut accepting: HashMap<String, AbortHandle> = HashMap::new();
    spawn_local(context.deadlines.clone().sweep());
    spawn_local(sweep_pool(context.clone()));
    while let Some(command) = receiver.recv().await {
        match command {
            Command::Table(table, done) => {
                context.set_table(table);
                let _ = done.send(());
            }
            Command::Listen(id, listener) => match TcpListener::from_std(listener) {
                Ok(listener) => {
                    let task = spawn_local(accept::accept(context.clone(), listener, id.as_str().into()));
                    accepting.insert(id, task.abort_handle());
                }
                Err(error) => tracing::error!(socket = id, %error, "cannot listen"),
            },
            Command::ListenUdp(id, socket) => match UdpSocket::from_std(socket) {
                Ok(socket) => {
                    let task = spawn_local(accept::datagrams(context.clone(), socket, id.as_str().into()));
                    accepting.insert(id, task.abort_handle());
                }
                Err(error) => tracing::error!(socket = id, %error, "cannot receive"),
            },
            Command::Unlisten(ids, done) => {
                ids.iter().filter_map(|id| accepting.remove(id)).for_each(|task| task.abort());
                let _ = done.send(());
            }
            Command::AcceptLast(id, listener, done) => {
                accept::accept_last(&context, &listener, &id.as_str().into());
                let _ = done.send(());
            }
            Command::Wake => context.deadlines.wake_all(),
            Command::SeeOut(done) => {
                see_out(&context).await;
                let _ = done.send(());
            }
            Command::Settle(done) => {
                context.pool.settle();
                context.h2.settle();
                let _ = done.send(());
            }
            Command::ShutDown(grace_seconds, done) => {
                accepting.drain().for_each(|(_, task)| task.abort());
                end(&context, grace_seconds).await;
                let _ = done.send(());
            }
        }
    }
}

async fn sweep_pool(context: Rc<Context>) {
    loop {
        tokio::time::sleep(pool::SWEEP_INTERVAL).await;
        context.pool.sweep();
    }
}

/// Half of the time idle clients may still ask and are told to close, then they are closed; requests have all of it.
async fn end(context: &Rc<Context>, grace_seconds: f64) {
    context.closing.set(Closing::Gently);
    let half = Duration::from_secs_f64((grace_seconds / 2.0).clamp(0.0, 3600.0));
    let _ = tokio::time::timeout(half, nobody(context)).await;
    context.closing.set(Closing::Now);
    context.deadlines.wake_all();
    let _ = tokio::time::timeout(half, nobody(context)).await;
    context.pool.clear();
    context.h2.clear();
}

/// Idle clients may ask on for a second and are told to close, then they are closed; requests go on for as long as they take.
async fn see_out(context: &Rc<Context>) {
    let _ = tokio::time::timeout(IDLE_LAST, nobody(context)).await;
    if context.closing.get() == Closing::Gently {
        context.closing.set(Closing::Now);
        context.deadlines.wake_all();
    }
}

async fn nobody(context: &Rc<Context>) {
    while context.clients.get() > 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
