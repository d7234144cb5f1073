//! What the tests launch as the spawner, in place of the server's own binary; and the plain loop that
//! `examples/measure.rs` compares with.

use std::{
    io::{Read, Write},
    process::{Command, Stdio},
    time::Instant,
};

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    match arguments.get(1).map(String::as_str) {
        Some(xebec_sandbox::SPAWNER_ARGUMENT) => xebec_sandbox::spawner_main(),
        Some("loop") => start_again_and_again(&arguments[2], &arguments[3]),
        _ => eprintln!("this runs as the spawner of tests only"),
    }
}

/// Starts a program with pipes, feeds it nothing, reads what it says and waits; prints the median in
/// microseconds.
fn start_again_and_again(times: &str, program: &str) {
    let times: usize = times.parse().unwrap_or(100);
    let mut taken: Vec<u128> = (0..times)
        .map(|_| {
            let began = Instant::now();
            let mut child = Command::new(program)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .expect("it starts");
            drop(child.stdin.take());
            let mut said = Vec::new();
            child.stdout.take().expect("a pipe").read_to_end(&mut said).expect("it answers");
            child.wait().expect("it ends");
            began.elapsed().as_micros()
        })
        .collect();
    taken.sort_unstable();
    let _ = writeln!(std::io::stdout(), "{}", taken[times / 2]);
}
