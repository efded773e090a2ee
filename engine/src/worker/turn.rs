//! How a task that has more to do lets others have the thread.
//!
//! Promises: whoever waits for a socket or a timer has its turn between two of the task's. A task that only wakes itself is
//! run again up to 61 times before the event loop asks the kernel what has come.

use std::pin::pin;
use std::task::Context as Task;

/// Wakes the task after the event loop has looked at sockets and timers. The caller returns `Pending`.
pub fn give_way(task: &mut Task<'_>) {
    let _ = pin!(tokio::task::yield_now()).poll(task);
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::rc::Rc;
    use std::task::Poll;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[test]
    fn who_waits_for_a_socket_has_its_turn_after_one_of_a_busy_task() {
        let options = tokio::runtime::LocalOptions::default();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build_local(options).unwrap();
        let turns = Rc::new(Cell::new(0));
        let counted = turns.clone();
        let between = runtime.block_on(async {
            let (mut ours, mut theirs) = tokio::net::UnixStream::pair().unwrap();
            let waiting = tokio::task::spawn_local(async move { theirs.read_u8().await.unwrap() });
            tokio::task::spawn_local(std::future::poll_fn(move |task| {
                counted.set(counted.get() + 1);
                give_way(task);
                Poll::<()>::Pending
            }));
            tokio::task::yield_now().await;
            let before = turns.get();
            ours.write_u8(1).await.unwrap();
            waiting.await.unwrap();
            turns.get() - before
        });
        assert!(between <= 4, "{between} turns");
    }
}
