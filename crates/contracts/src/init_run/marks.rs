//! What a proxy prints behind each call, on both streams: only then has all come that the call printed.

use crate::in_flight::Counted;
use parking_lot::Mutex;
use std::{sync::Arc, time::Duration};
use tokio::time::{Instant, sleep_until};
use xebec_core::{log::LogStream, ports::instance::Lines, slot::Slot};

/// The mark.
const MARK: &str = "XXX_THE_END_OF_A_WHISK_ACTIVATION_XXX";

/// How long the marks of a call that was answered are waited for.
const PATIENCE: Duration = Duration::from_secs(2);

/// The marks of the call at hand. There is one call at a time.
#[derive(Default)]
pub(super) struct Marks(Mutex<State>);

#[derive(Default)]
struct State {
    stdout: bool,
    stderr: bool,
    /// A call that was answered, and since when its marks are waited for.
    answered: Option<(Instant, Slot, Counted)>,
    /// A task looks after calls whose marks do not come.
    watched: bool,
}

impl Marks {
    /// Looks for marks among the lines.
    pub(super) fn watch(lines: &Lines) -> Arc<Self> {
        let marks = Arc::new(Self::default());
        let told = marks.clone();
        lines.watch_for(MARK, Box::new(move |stream| told.told(stream)));
        marks
    }

    /// A call begins: what came until now was not its own.
    pub(super) fn begin(&self) {
        let mut state = self.0.lock();
        (state.stdout, state.stderr) = (false, false);
    }

    fn told(&self, stream: LogStream) {
        let mut state = self.0.lock();
        match stream {
            LogStream::Stdout => state.stdout = true,
            LogStream::Stderr => state.stderr = true,
            LogStream::Platform => {}
        }
        let both = state.stdout && state.stderr;
        let answered = if both { state.answered.take() } else { None };
        drop(state);
        if let Some((_, slot, _counted)) = answered {
            slot.free();
        }
    }

    /// The call was answered: its slot is free when both marks are there, or when they have not come for long.
    pub(super) async fn release(self: &Arc<Self>, slot: Slot, counted: Counted) {
        self.wait_for(slot, counted);
        // Marks that were printed before the answer are in their pipes. Their readers go first, so that who gets
        // the answer and calls again finds the slot free.
        if self.0.lock().answered.is_some() {
            tokio::task::yield_now().await;
        }
    }

    fn wait_for(self: &Arc<Self>, slot: Slot, counted: Counted) {
        let mut state = self.0.lock();
        if state.stdout && state.stderr {
            drop(state);
            return slot.free();
        }
        state.answered = Some((Instant::now(), slot, counted));
        if !std::mem::replace(&mut state.watched, true) {
            drop(state);
            tokio::spawn(self.clone().free_what_waits_too_long());
        }
    }

    /// One task for many calls: it ends when it finds none that waits.
    async fn free_what_waits_too_long(self: Arc<Self>) {
        loop {
            let until = match &self.0.lock().answered {
                Some((since, ..)) => *since + PATIENCE,
                None => Instant::now() + PATIENCE,
            };
            sleep_until(until).await;
            let mut state = self.0.lock();
            let late = match &state.answered {
                None => {
                    state.watched = false;
                    return;
                }
                Some((since, ..)) if since.elapsed() < PATIENCE => continue,
                Some(_) => state.answered.take(),
            };
            drop(state);
            if let Some((_, slot, _counted)) = late {
                slot.free();
            }
        }
    }
}
