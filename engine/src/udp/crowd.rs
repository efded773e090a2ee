//! Who makes room when there are too many sessions.
//!
//! Promises: of the next few that have waited longest for a look, the one that is missed least goes; the others wait anew
//! at the end. That is nearly the one that has been silent longest (a clock with several hands), at a cost that does not
//! grow with the sessions: each is looked at once a round, whatever it does.

use std::collections::VecDeque;

/// Looked at before one is chosen. More come nearer to the oldest, and cost more.
const LOOKS: usize = 16;

pub struct Crowd<K> {
    waiting: VecDeque<K>,
}

impl<K> Default for Crowd<K> {
    fn default() -> Self {
        Self { waiting: VecDeque::new() }
    }
}

impl<K: Copy> Crowd<K> {
    /// One more is there. Who left is forgotten when its turn comes, or by `keep`.
    pub fn join(&mut self, key: K) {
        self.waiting.push_back(key);
    }

    /// Takes out who is missed least; `worth` says how much somebody is, or that he has left already.
    pub fn leave<W: Ord>(&mut self, worth: impl Fn(&K) -> Option<W>) -> Option<K> {
        let mut seen: Vec<(W, K)> = Vec::with_capacity(LOOKS);
        while seen.len() < LOOKS {
            let Some(key) = self.waiting.pop_front() else { break };
            if let Some(worth) = worth(&key) {
                seen.push((worth, key));
            }
        }
        let least = (0..seen.len()).min_by(|a, b| seen[*a].0.cmp(&seen[*b].0))?;
        let (_, gone) = seen.remove(least);
        self.waiting.extend(seen.into_iter().map(|(_, key)| key));
        Some(gone)
    }

    /// Forgets the others, when there are many more than `count`.
    pub fn keep(&mut self, count: usize, there: impl Fn(&K) -> bool) {
        if self.waiting.len() > 2 * count + LOOKS {
            self.waiting.retain(there);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use std::collections::{BTreeMap, HashMap};

    #[test]
    fn the_longest_silent_goes_first() {
        let mut crowd = Crowd::default();
        (0..10).for_each(|key| crowd.join(key));
        // 3 has not been heard of since before everybody else.
        let heard: HashMap<i32, i32> = (0..10).map(|key| (key, if key == 3 { -1 } else { key })).collect();
        assert_eq!(crowd.leave(|key| heard.get(key)), Some(3));
        assert_eq!(crowd.leave(|key| heard.get(key).filter(|_| *key != 3)), Some(0));
    }

    #[test]
    fn who_left_is_passed_over_and_nobody_is_none() {
        let mut crowd = Crowd::default();
        (0..100).for_each(|key| crowd.join(key));
        assert_eq!(crowd.leave(|key| (*key == 77).then_some(())), Some(77));
        assert_eq!(crowd.leave(|_| None::<()>), None);
        assert!(crowd.waiting.is_empty());
    }

    #[test]
    fn a_choice_costs_the_same_among_many_and_talkers_outlast_a_flood() {
        let mut crowd = Crowd::default();
        let mut heard: BTreeMap<u32, u32> = BTreeMap::new();
        let most = 1000;
        let is_talker = |key: u32| key < 100 && key.is_multiple_of(5);
        let (mut looks, mut now) = (0, 0);
        for key in 0..20 * most {
            now += 1;
            if heard.len() >= most as usize {
                let looked = Cell::new(0);
                let gone = crowd.leave(|key| {
                    looked.set(looked.get() + 1);
                    heard.get(key).copied()
                });
                heard.remove(&gone.unwrap());
                looks = looks.max(looked.get());
            }
            heard.insert(key, now);
            crowd.join(key);
            // Some go on talking, each once in a hundred newcomers.
            if let Some(at) = heard.get_mut(&(key % 100)).filter(|_| is_talker(key % 100)) {
                *at = now;
            }
        }
        assert!(looks <= LOOKS, "{looks}");
        let lost: Vec<u32> = (0..100).filter(|key| is_talker(*key) && !heard.contains_key(key)).collect();
        assert!(lost.is_empty(), "{lost:?}");
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let mut crowd = Crowd::default();
        for key in 0..10_000 {
            crowd.join(key);
            crowd.keep(1, |one| *one == key);
        }
        assert!(crowd.waiting.len() <= 2 + LOOKS + 1, "{}", crowd.waiting.len());
    }
}
