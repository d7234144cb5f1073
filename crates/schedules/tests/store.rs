//! The store in memory that other tests stand on is one.

mod support;

use std::sync::Arc;
use support::MemoryStore;
use xebec_core::ports::store::Store;

fn open() -> (Arc<dyn Store>, ()) {
    (Arc::new(MemoryStore::default()), ())
}

xebec_conformance::cases! { store, open,
    knows_nothing_at_first
    fills_in_what_is_its_own
    writes_only_what_is_expected
    writes_batches_whole_or_not_at_all
    gives_every_write_a_later_version
    hands_back_what_it_deletes
    lists_sorted
    lists_by_namespace_and_label
    lists_in_pages
    lets_one_of_many_win
    tells_watchers_everything_in_order
    tells_watchers_what_comes_after_a_list
}
