//! Least request: an idle endpoint that is not slow, in turn by weight; else the fewest (requests in flight + 1) / weight,
//! where a slow endpoint's count as many times as it is slower than its peers (`pace`), and equals go in turn.
//!
//! Promises: when nothing is in flight, and so when requests do not overlap, it is exact round robin, smoothly weighted
//! where weights differ; connections at layer 4, of which no answers are known, are counted and nothing else.

use super::cursor::Cursor;
use super::pace::{ALIKE, Pace};
use super::{Ask, Candidate};

pub fn least_request<C: Candidate>(
    pace: &mut Pace,
    cursor: &mut Cursor,
    set: &[C],
    ask: &Ask<'_>,
    usable: impl Fn(usize) -> bool,
) -> Option<usize> {
    let idle = |i: usize| set[i].in_flight() == 0 && usable(i);
    let busy = (0..set.len()).any(|i| usable(i) && set[i].in_flight() > 0);
    if busy {
        pace.look(set, ask, &usable);
    }
    let due = if busy { pace.due(set, ask, &usable) } else { None };
    let turn = due.or_else(|| cursor.turn(set, |i| idle(i) && (!busy || pace.slowness(i) == ALIKE)));
    let found = turn.or_else(|| {
        let load = |i: usize| (u64::from(set[i].in_flight()) + 1) * pace.slowness(i);
        cursor.least(set.len(), &usable, |i| (load(i), u64::from(set[i].weight().max(1))))
    })?;
    pace.note(set, found, ask);
    Some(found)
}
