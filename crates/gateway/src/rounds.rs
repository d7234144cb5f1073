//! Tasks that wake themselves.
//!
//! The parts of a connection wake each other: reading the end of an answer wakes whoever waits for it, and all of
//! that is one task. The runtime puts a task that was woken while it ran back into a queue and calls another
//! thread for it, which costs more than the whole way of a request. Here it simply goes another round.

use futures_util::task::AtomicWaker;
use std::{
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
};

/// Rounds after which other tasks get their turn.
const MOST: usize = 8;

const POLLED: u8 = 1;
const WOKEN: u8 = 2;

/// Polls a task's work, round after round while it wakes itself.
pub(crate) struct Rounds {
    wakes: Arc<Wakes>,
    waker: Waker,
}

struct Wakes {
    state: AtomicU8,
    task: AtomicWaker,
}

impl Rounds {
    pub(crate) fn new() -> Self {
        let wakes = Arc::new(Wakes { state: AtomicU8::new(0), task: AtomicWaker::new() });
        Self { waker: Waker::from(wakes.clone()), wakes }
    }

    /// Polls until it is ready or waits for something else than itself.
    pub(crate) fn poll<T>(
        &self,
        cx: &mut Context<'_>,
        mut work: impl FnMut(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        let Wakes { state, task } = &*self.wakes;
        task.register(cx.waker());
        for _ in 0..MOST {
            // What was done before a wake up to here is seen in this round.
            state.swap(POLLED, Ordering::AcqRel);
            if let Poll::Ready(done) = work(&mut Context::from_waker(&self.waker)) {
                return Poll::Ready(done);
            }
            if state.compare_exchange(POLLED, 0, Ordering::AcqRel, Ordering::Acquire).is_ok() {
                return Poll::Pending;
            }
        }
        state.store(WOKEN, Ordering::Release);
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // Polled: the next round comes anyway. Woken: the task was called already.
        if self.state.fetch_or(WOKEN, Ordering::AcqRel) == 0 {
            self.task.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::task::noop_waker_ref;
    use std::{
        future::{Future as _, poll_fn},
        pin::pin,
        sync::atomic::AtomicUsize,
        thread,
    };

    #[derive(Default)]
    struct Calls(AtomicUsize);

    impl Wake for Calls {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn who_wakes_itself_goes_on_without_being_called() {
        let calls = Arc::new(Calls::default());
        let waker = Waker::from(calls.clone());
        let mut cx = Context::from_waker(&waker);
        let (rounds, mut polled) = (Rounds::new(), 0);
        let mut kept = None;
        let poll = rounds.poll(&mut cx, |cx| {
            polled += 1;
            if polled < 3 {
                cx.waker().wake_by_ref();
            }
            kept = Some(cx.waker().clone());
            Poll::<()>::Pending
        });
        assert!(poll.is_pending());
        assert_eq!((polled, calls.0.load(Ordering::SeqCst)), (3, 0));
        // From elsewhere, once is enough.
        let kept = kept.unwrap();
        kept.wake_by_ref();
        kept.wake_by_ref();
        assert_eq!(calls.0.load(Ordering::SeqCst), 1);
        assert!(rounds.poll(&mut cx, |_| Poll::Ready(())).is_ready());
    }

    #[test]
    fn who_never_rests_lets_others_have_their_turn() {
        let calls = Arc::new(Calls::default());
        let waker = Waker::from(calls.clone());
        let (rounds, mut polled) = (Rounds::new(), 0);
        for turn in 1..=3 {
            let poll = rounds.poll(&mut Context::from_waker(&waker), |cx| {
                polled += 1;
                cx.waker().wake_by_ref();
                Poll::<()>::Pending
            });
            assert!(poll.is_pending());
            assert_eq!((polled, calls.0.load(Ordering::SeqCst)), (turn * MOST, turn));
        }
    }

    #[tokio::test]
    async fn no_wake_is_lost_whenever_it_comes() {
        for _ in 0..200 {
            let (steps, rounds) = (Arc::new(AtomicUsize::new(0)), Rounds::new());
            let mut helpers = Vec::new();
            let seen = steps.clone();
            poll_fn(|cx| {
                rounds.poll(cx, |cx| {
                    let step = seen.load(Ordering::Acquire);
                    if step >= 20 {
                        return Poll::Ready(());
                    }
                    // One helper a step; it moves on and wakes, whatever we do meanwhile.
                    if helpers.len() <= step {
                        let (steps, waker) = (steps.clone(), cx.waker().clone());
                        helpers.push(thread::spawn(move || {
                            steps.fetch_add(1, Ordering::AcqRel);
                            waker.wake();
                        }));
                    }
                    Poll::Pending
                })
            })
            .await;
            helpers.into_iter().for_each(|helper| helper.join().unwrap());
        }
        let mut never = pin!(poll_fn(|_| Poll::<()>::Pending));
        assert!(
            Rounds::new()
                .poll(&mut Context::from_waker(noop_waker_ref()), |cx| never.as_mut().poll(cx))
                .is_pending()
        );
    }
}
