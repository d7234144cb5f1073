//! The suite of the port.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

mod support;

use std::sync::Arc;
use support::{Function, Place};
use xebec_conformance::driver::Ground;

async fn open() -> Option<Ground> {
    let place = Place::launch().await?;
    let function = Function::http(&["sleep", "1000"]);
    let (revision, environment, code) = place.revision(&function);
    let Place { driver, folder, .. } = place;
    Some(Ground {
        driver: Arc::new(driver),
        revision,
        environment,
        code: Some(code),
        // These drivers are launched so that nothing is too young.
        age: Box::new(|| {}),
        kept: Box::new(folder),
    })
}

xebec_conformance::driver_suite!(open);
