//! The engine's monotonic clock: nanoseconds since the process first looked.

use std::sync::LazyLock;
use std::time::Instant;

static STARTED: LazyLock<Instant> = LazyLock::new(Instant::now);

pub fn now_nanos() -> u64 {
    STARTED.elapsed().as_nanos() as u64
}
