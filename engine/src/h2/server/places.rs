//! The places of a connection: each serves one stream after the other with the state machine of `http`.
//!
//! A place's state stays between streams, so a request costs neither an allocation nor a task.

use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context as Task, Waker};

use super::ready::{PLACES, Ready};
use super::stream::{Place, Stream};
use crate::h2::pipe::Shared;
use crate::http::serve::{self, Whence};
use crate::worker::clock;
use crate::worker::context::Context;

struct One {
    work: Pin<Box<dyn Future<Output = ()>>>,
    waker: Waker,
    stream: Place,
    free: bool,
}

/// What a place needs to know to serve.
pub struct Door {
    pub context: Rc<Context>,
    pub whence: Whence,
    pub scheme: &'static str,
}

pub struct Places {
    door: Door,
    connection: Shared,
    all: Vec<Option<One>>,
    free: Vec<usize>,
    /// Those that were woken and have not had their turn.
    left: [u64; PLACES / 64],
    pub ready: Arc<Ready>,
}

/// Each may have a connection to a backend, which is closed with it.
const CLEARED_AT_ONCE: usize = 16;
/// Turns between two looks at the clock.
const TURNS_PER_LOOK: usize = 4;

impl Places {
    pub fn new(door: Door, connection: Shared) -> Self {
        Self { door, connection, all: Vec::new(), free: Vec::new(), left: [0; _], ready: Arc::default() }
    }

    /// Gives a stream a place; false when there is none.
    #[must_use]
    pub fn seat(&mut self, key: usize) -> bool {
        while let Some(index) = self.free.pop() {
            if let Some(Some(one)) = self.all.get_mut(index)
                && std::mem::take(&mut one.free)
            {
                one.stream.set(Some(key));
                self.ready.mark(index);
                return true;
            }
        }
        let index = match self.all.iter().position(Option::is_none) {
            Some(index) => index,
            None if self.all.len() < PLACES => {
                self.all.push(None);
                self.all.len() - 1
            }
            None => return false,
        };
        let stream = Place::default();
        stream.set(Some(key));
        let client = Stream::new(self.connection.clone(), stream.clone());
        let Door { context, whence, scheme } = &self.door;
        let work = Box::pin(serve::serve(context.clone(), client, whence.clone(), scheme));
        self.all[index] = Some(One { work, waker: self.ready.waker(index), stream, free: false });
        self.ready.mark(index);
        true
    }

    /// The stream is gone; what was done for it ends here.
    pub fn clear(&mut self, key: usize) {
        for place in &mut self.all {
            if place.as_ref().is_some_and(|one| one.stream.get() == Some(key)) {
                *place = None;
            }
        }
    }

    /// Lets every place go that serves nothing.
    pub fn trim(&mut self) {
        self.all.iter_mut().for_each(|place| drop(place.take_if(|one| one.free)));
        self.free.clear();
    }

    /// Takes some of the places; false when none is left. What was done at backends ends with each.
    pub fn clear_some(&mut self) -> bool {
        self.free.clear();
        self.all.truncate(self.all.len().saturating_sub(CLEARED_AT_ONCE));
        !self.all.is_empty()
    }

    /// Goes on with the places that were woken, until that time; false when not all had their turn. They have it next.
    #[must_use]
    pub fn run(&mut self, until_nanos: u64) -> bool {
        if self.left == [0; _] {
            self.left = std::array::from_fn(|word| self.ready.take(word));
        }
        let mut turns = 0;
        for word in 0..self.left.len() {
            while self.left[word] != 0 {
                if turns == TURNS_PER_LOOK {
                    turns = 0;
                    if clock::now_nanos() > until_nanos {
                        return false;
                    }
                }
                turns += 1;
                let bit = self.left[word].trailing_zeros() as usize;
                self.left[word] &= self.left[word] - 1;
                self.go_on(word * 64 + bit);
            }
        }
        true
    }

    /// The task is about to wait; false when it must not.
    pub fn rest(&self) -> bool {
        self.left == [0; _] && self.ready.rest()
    }

    fn go_on(&mut self, index: usize) {
        let Some(place) = self.all.get_mut(index) else { return };
        let Some(one) = place else { return };
        if one.work.as_mut().poll(&mut Task::from_waker(&one.waker)).is_ready() {
            *place = None;
        } else if one.stream.get().is_none() && !one.free {
            one.free = true;
            self.free.push(index);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;

    use super::super::super::connection::{Connection, Limits, Role};
    use super::*;
    use crate::tls::peer::Peer;
    use crate::worker::context;

    /// Without a Listener there is nothing to serve: each place ends with its first turn.
    fn seated(count: usize) -> Places {
        let mut connection = Connection::new(Limits {
            role: Role::Server,
            max_streams: 100,
            window_bytes: 65_535,
            connection_window_bytes: 65_535,
            max_header_bytes: 1000,
            clock: clock::now_nanos,
        });
        let keys: Vec<_> = (0..count).map(|_| connection.open().unwrap()).collect();
        let peer = ([127, 0, 0, 1], 1).into();
        let context = Context::new(1);
        let client = context::Client::new(&context, &Arc::default());
        let whence =
            Whence { socket: "s".into(), peer, local: None, destination: None, peer_identity: Peer::Plain, client };
        let door = Door { context, whence, scheme: "http" };
        let mut places = Places::new(door, Rc::new(RefCell::new(connection)));
        assert!(keys.into_iter().all(|key| places.seat(key)));
        places
    }

    #[test]
    fn who_has_many_streams_lets_others_have_the_thread_between_them() {
        let mut places = seated(100);
        let mut gone = Vec::new();
        while !places.run(0) {
            gone.push(places.all.iter().filter(|place| place.is_none()).count());
            assert!(!places.rest(), "the others wait for their turn");
        }
        assert_eq!(gone, (1..25).map(|turn| turn * TURNS_PER_LOOK).collect::<Vec<_>>());
        assert!(seated(100).run(u64::MAX), "where there is time, all have their turn");
    }

    #[test]
    fn the_places_of_a_connection_that_is_over_go_in_portions() {
        let mut places = seated(40);
        let left: Vec<_> = std::iter::from_fn(|| places.clear_some().then_some(places.all.len())).collect();
        assert_eq!((left, places.all.len()), (vec![24, 8], 0));
    }

    #[test]
    fn a_place_that_is_woken_again_waits_for_those_that_have_waited() {
        let mut places = seated(12);
        assert!(!places.run(0));
        places.ready.mark(0);
        assert!(!places.run(0) && places.all[7].is_none() && places.all[8].is_some());
        assert!(places.run(0) && places.all.iter().all(Option::is_none));
        assert_ne!(places.ready.take(0), 0, "its turn is still to come");
    }
}
