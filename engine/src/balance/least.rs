//! Least request: the fewest (requests in flight + 1) / weight, where a slow endpoint's count as many times as it is slower
//! than its peers (`pace`), and equals go in turn.
//!
//! Promises: when nothing is in flight, and so when requests do not overlap, it is exact round robin, smoothly weighted
//! where weights differ; connections at layer 4, of which no answers are known, are counted and nothing else.

use super::cursor::Cursor;
use super::pace::Pace;
use super::{Ask, Candidate};

pub fn least_request<C: Candidate>(
    pace: &mut Pace,
    cursor: &mut Cursor,
    set: &[C],
    ask: &Ask<'_>,
    usable: impl Fn(usize) -> bool,
) -> Option<usize> {
    let due = pace.floor.due(set, ask.now_nanos, &usable);
    let found = match due {
        _ if idle(set, &usable) => cursor.turn(set, &usable),
        Some(due) => Some(due),
        None => {
            pace.look(set, ask, &usable);
            let load = |i: usize| (u64::from(set[i].in_flight()) + 1) * pace.slowness(i);
            cursor.least(set.len(), &usable, |i| (load(i), u64::from(set[i].weight().max(1))))
        }
    }?;
    pace.floor.note(set, found, ask.now_nanos);
    Some(found)
}

fn idle<C: Candidate>(set: &[C], usable: impl Fn(usize) -> bool) -> bool {
    set.iter().enumerate().all(|(i, candidate)| candidate.in_flight() == 0 || !usable(i))
}
