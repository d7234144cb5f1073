//! Action → deployment.
