//! What waits for the writing thread.

use crate::{claim::Claimer, task::Task};
use parking_lot::{Condvar, Mutex};
use std::{collections::VecDeque, time::Instant};
use xebec_core::{Error, ErrorKind};

/// Something for the writing thread.
pub(crate) enum Order {
    /// To be done.
    Task(Box<dyn Task>),
    /// Someone who waits for messages.
    Claim(Claimer),
}

/// A bounded line before the writing thread.
pub(crate) struct Inbox {
    state: Mutex<State>,
    wake: Condvar,
    most: usize,
    most_bytes: usize,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Order>,
    bytes: usize,
    closed: bool,
}

impl Inbox {
    pub(crate) fn new(most: usize, most_bytes: usize) -> Self {
        Self { state: Mutex::default(), wake: Condvar::new(), most, most_bytes }
    }

    /// Puts something in line, or says that the line is full.
    pub(crate) fn push(&self, order: Order) -> Result<(), Error> {
        self.add(order, true)
    }

    /// Puts something in line that must not be refused: it makes room, or is rare and small. Where the thread
    /// has stopped there is no one left to care for it.
    pub(crate) fn insist(&self, order: Order) {
        let _ = self.add(order, false);
    }

    fn add(&self, order: Order, bounded: bool) -> Result<(), Error> {
        let mut state = self.state.lock();
        if state.closed {
            return Err(stopped());
        }
        let bytes = order.bytes();
        // One that is large alone is let in where nothing else waits.
        let full = state.waiting.len() >= self.most
            || (state.bytes > 0 && state.bytes.saturating_add(bytes) > self.most_bytes);
        if bounded && full {
            return Err(busy());
        }
        state.bytes += bytes;
        state.waiting.push_back(order);
        if state.waiting.len() == 1 {
            self.wake.notify_one();
        }
        Ok(())
    }

    /// Waits for something, at most until then; `None` once it is closed and empty.
    pub(crate) fn take(&self, most: usize, until: Option<Instant>) -> Option<Vec<Order>> {
        let mut state = self.state.lock();
        while state.waiting.is_empty() {
            if state.closed {
                return None;
            }
            match until {
                None => self.wake.wait(&mut state),
                Some(until) if self.wake.wait_until(&mut state, until).timed_out() => break,
                Some(_) => {}
            }
        }
        let count = state.waiting.len().min(most);
        let taken: Vec<_> = state.waiting.drain(..count).collect();
        state.bytes -= taken.iter().map(Order::bytes).sum::<usize>();
        Some(taken)
    }

    /// Takes no more; the thread ends when it has done what is there.
    pub(crate) fn close(&self) {
        self.state.lock().closed = true;
        self.wake.notify_one();
    }

    /// The thread is no more: whoever waits learns of it by the loss of what would have answered.
    pub(crate) fn abandon(&self) {
        let left = {
            let mut state = self.state.lock();
            state.closed = true;
            std::mem::take(&mut state.waiting)
        };
        // Outside the lock: what is dropped may want to put something in line.
        drop(left);
    }
}

impl Order {
    fn bytes(&self) -> usize {
        match self {
            Self::Task(task) => task.bytes(),
            Self::Claim(_) => 0,
        }
    }
}

pub(crate) fn stopped() -> Error {
    Error::internal("XB4003", "the queue's writer has stopped")
}

pub(crate) fn busy() -> Error {
    Error::new(ErrorKind::Unavailable, "XB4005", "the queue is busy: too much waits to be written")
        .with_hint("try again in a moment; if it stays so, the disk is too slow for what is written")
}
