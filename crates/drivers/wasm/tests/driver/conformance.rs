//! The suite of the port.

use crate::{
    deploy::grow_old,
    guest::{HELLO, Host, environment, revision},
};
use bytes::Bytes;
use std::sync::Arc;
use xebec_conformance::driver::Ground;

async fn open() -> Option<Ground> {
    let code = Bytes::from_static(HELLO.as_bytes());
    let revision = Arc::new(revision(&code, |_| {}));
    let Host { driver, directory } = Host::new();
    let environment = Arc::new(environment());
    let path = directory.path().to_owned();
    Some(Ground {
        driver: Arc::new(driver),
        revision,
        environment,
        code: Some(code),
        age: Box::new(move || grow_old(&path)),
        kept: Box::new(directory),
    })
}

xebec_conformance::driver_suite!(open);
