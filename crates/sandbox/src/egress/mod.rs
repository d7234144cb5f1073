//! The way out.
use std::{io, os::fd::OwnedFd};

#[derive(Debug)]
pub(crate) struct Way(#[allow(dead_code)] OwnedFd);

pub(crate) fn open(tunnel: OwnedFd) -> io::Result<Way> {
    Ok(Way(tunnel))
}
