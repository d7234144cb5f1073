//! One suite per port, to be run over every implementation of it.
//!
//! A test file of an implementation names how one is opened, and gets a test of each case:
//!
//! ```text
//! fn open() -> (Arc<dyn Store>, TempDir) { … }
//! xebec_conformance::store_suite!(open);
//! ```
//!
//! The second thing that `open` returns is kept until the test ends.

// A suite's cases panic where an implementation is at fault; that is what they are for.
#![allow(clippy::unwrap_used)]

pub mod blobs;
pub mod container_engine;
pub mod driver;
pub mod logs;
pub mod memory_queue;
pub mod queue;
pub mod queue_model;
pub mod records;
pub mod small_disk;
pub mod store;
pub mod store_model;

/// Makes one test of each case that is listed.
#[doc(hidden)]
#[macro_export]
macro_rules! cases {
    ($suite:ident, $open:path, $($case:ident)*) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $case() {
            let (port, _kept) = $open();
            $crate::$suite::$case(port.as_ref()).await;
        }
    )*};
}

/// The suite of [`xebec_core::ports::store::Store`].
#[macro_export]
macro_rules! store_suite {
    ($open:path) => {
        $crate::cases! { store, $open,
            knows_nothing_at_first
            fills_in_what_is_its_own
            raises_the_generation_with_the_spec_only
            writes_only_what_is_expected
            writes_batches_whole_or_not_at_all
            gives_every_write_a_later_version
            hands_back_what_it_deletes
            keeps_json_as_it_is
            lists_sorted
            lists_by_namespace_and_label
            lists_in_pages
            refuses_what_is_too_large
            lets_one_of_many_win
            keeps_failures_to_themselves
            tells_watchers_everything_in_order
            tells_watchers_what_comes_after_a_list
            refuses_watches_from_the_future
        }

        #[test]
        fn behaves_like_the_model() {
            $crate::store_model::behaves_like_the_model(|| {
                let (store, kept) = $open();
                (store, Box::new(kept))
            });
        }
    };
}

/// The suite of [`xebec_core::ports::blobs::Blobs`].
#[macro_export]
macro_rules! blobs_suite {
    ($open:path) => {
        $crate::cases! { blobs, $open,
            keeps_what_it_is_given
            keeps_streams_of_any_size
            names_equal_contents_once
            refuses_what_is_larger_than_allowed
            keeps_nothing_of_what_broke_off
            tells_what_it_does_not_know
            lists_and_deletes
            takes_the_same_from_many_at_once
        }
    };
}

/// The suite of [`xebec_core::ports::driver::Driver`]: `open` is an async function that gives a
/// [`driver::Ground`], or `None` (having said so) where the machine lacks something.
#[macro_export]
macro_rules! driver_suite {
    ($open:path) => {
        $crate::driver_suite! { $open,
            says_what_it_takes
            starts_what_was_prepared
            tells_everyone_of_an_end
            kills
            says_what_it_cannot_do
            collects_what_is_not_live
            ends_what_it_started
        }
    };
    ($open:path, $($case:ident)*) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $case() {
            let Some(ground) = $open().await else { return };
            $crate::driver::$case(&ground).await;
            ground.driver.shutdown().await;
        }
    )*};
}

/// The suite of [`xebec_core::ports::records::Records`].
#[macro_export]
macro_rules! records_suite {
    ($open:path) => {
        $crate::cases! { records, $open,
            keeps_records_whole
            keeps_what_was_noted
            finds_what_was_filed
            skips_the_first_of_a_list
            answers_every_filter
            pages_without_gaps_or_repeats
            refuses_what_it_cannot_know
            keeps_the_later_of_two_with_one_id
            keeps_requests_beside_records
            trims_by_age_and_number
            trims_by_bytes
        }
    };
}

/// The suite of [`xebec_core::ports::records::Logs`].
#[macro_export]
macro_rules! logs_suite {
    ($open:path) => {
        $crate::cases! { logs, $open,
            keeps_lines_in_order
            answers_every_filter
            forgets_a_function
            trims_by_age_and_number
            trims_by_bytes
        }
    };
}
