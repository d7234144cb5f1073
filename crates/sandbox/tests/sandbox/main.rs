//! Sandboxes, each test with a spawner of its own.

mod isolation;
mod life;
mod limits;
mod ordinary;
mod processes;
mod world;
