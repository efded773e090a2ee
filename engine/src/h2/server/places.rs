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
    pub ready: Arc<Ready>,
}

impl Places {
    pub fn new(door: Door, connection: Shared) -> Self {
        Self { door, connection, all: Vec::new(), free: Vec::new(), ready: Arc::default() }
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

    pub fn clear_all(&mut self) {
        self.all.clear();
        self.free.clear();
    }

    /// Goes on with every place that was woken.
    pub fn run(&mut self) {
        for word in 0..PLACES / 64 {
            let mut bits = self.ready.take(word);
            while bits != 0 {
                self.go_on(word * 64 + bits.trailing_zeros() as usize);
                bits &= bits - 1;
            }
        }
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
