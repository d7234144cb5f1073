//! What the tests launch as the spawner, in place of the server's own binary.

fn main() {
    match std::env::args().nth(1).as_deref() {
        Some(xebec_sandbox::SPAWNER_ARGUMENT) => xebec_sandbox::spawner_main(),
        _ => eprintln!("this runs as the spawner of tests only"),
    }
}
