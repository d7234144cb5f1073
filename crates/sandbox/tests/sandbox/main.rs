//! Sandboxes, each test with a spawner of its own.

mod isolation;
mod life;
mod limits;
mod network;
mod ordinary;
mod processes;
mod world;
mod zygote;
