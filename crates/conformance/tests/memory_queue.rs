//! The queue in memory passes the suite of queues.

use std::sync::Arc;
use xebec_conformance::memory_queue::MemoryQueue;
use xebec_core::ports::queue::Queue;

fn open() -> (Arc<dyn Queue>, Arc<MemoryQueue>) {
    let queue = Arc::new(MemoryQueue::default());
    (queue.clone(), queue)
}

fn reopen(queue: Arc<MemoryQueue>) -> (Arc<dyn Queue>, Arc<MemoryQueue>) {
    queue.restart();
    (queue.clone(), queue)
}

xebec_conformance::queue_suite!(open, cases = 64);
xebec_conformance::queue_reopen_suite!(open, reopen);
