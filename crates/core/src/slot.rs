//! Slots: the right to send one call to one instance.

use std::{fmt, sync::Arc};

/// Why an instance is not used any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retire {
    /// A call was given up in the middle, and the instance cannot take another after that.
    Interrupted,
    /// The contract was broken: a bad answer, a closed connection.
    Broken,
    /// It ended.
    Exited,
}

/// Where slots come from and go back to: the pool's side of one instance.
pub trait SlotOwner: Send + Sync {
    /// The instance announces `count` slots more. Contracts with a fixed number do it once, when open.
    fn announce(&self, count: u32);
    /// A slot came back: the next call may have it.
    fn free(&self);
    /// The instance shall get no more calls.
    fn retire(&self, why: Retire);
}

/// The right to send one call to one instance. It goes back on the contract's own event, *free* or
/// *retire*, not at the end of the response. Dropped without either, it retires the instance: a contract
/// that loses track must not hand a busy instance to the next caller.
pub struct Slot(Option<Arc<dyn SlotOwner>>);

impl Slot {
    /// A slot of `owner`. Only the owner makes them.
    pub fn new(owner: Arc<dyn SlotOwner>) -> Self {
        Self(Some(owner))
    }

    /// The call is over and the instance can take another.
    pub fn free(mut self) {
        if let Some(owner) = self.0.take() {
            owner.free();
        }
    }

    /// The instance shall get no more calls.
    pub fn retire(mut self, why: Retire) {
        if let Some(owner) = self.0.take() {
            owner.retire(why);
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if let Some(owner) = self.0.take() {
            owner.retire(Retire::Interrupted);
        }
    }
}

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Slot")
    }
}
