//! The suite of the port.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

mod support;

use std::sync::Arc;
use support::{Function, Place, Told};
use xebec_conformance::driver::Ground;

async fn open() -> Option<Ground> {
    let place = Place::launch().await?;
    let (revision, environment) = place.revision(&Function::guest(), &Told::default()).await.unwrap();
    let Place { driver, data, secrets, .. } = place;
    Some(Ground {
        driver: Arc::new(driver),
        revision,
        environment,
        code: None,
        // These drivers are launched so that nothing is too young.
        age: Box::new(|| {}),
        kept: Box::new((data, secrets)),
    })
}

xebec_conformance::driver_suite!(open);
