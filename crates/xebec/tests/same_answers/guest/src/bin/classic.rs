//! The function as a program that runs once per call: the body is its standard input, its standard output is
//! the answer, and what was asked is in variables.

use std::{
    env,
    io::{self, Read as _, Write as _},
    process, thread,
    time::Duration,
};

fn main() {
    let variable = |name: &str| env::var(name).unwrap_or_default();
    let path = variable("Http_Path");
    let mut parts = path.splitn(3, '/').skip(1);
    let (behaviour, argument) = (parts.next().unwrap_or(""), parts.next().unwrap_or(""));
    match behaviour {
        "echo" => drop(io::copy(&mut io::stdin(), &mut io::stdout())),
        "empty" | "unread" => {}
        "bytes" => write(&(0..=255).collect::<Vec<u8>>()),
        "large" => {
            write(&(0..argument.parse().unwrap_or(0)).map(same_answers_guest::pattern).collect::<Vec<_>>())
        }
        "sum" => sum(),
        "never" => thread::sleep(Duration::from_secs(600)),
        "exit" => {
            write(b"before the end");
            process::exit(argument.parse().unwrap_or(1));
        }
        "both" => {
            write(b"to one, ");
            eprint!("to the other");
        }
        _ => report(),
    }
}

/// Says what was asked, in the words of HTTP.
fn report() {
    let mut told: Vec<_> = env::vars()
        .filter_map(|(name, value)| {
            let name = name.strip_prefix("Http_")?.to_lowercase().replace('_', "-");
            Some(format!("{name}: {value}\n"))
        })
        .collect();
    told.sort();
    let mut body = Vec::new();
    let _ = io::stdin().read_to_end(&mut body);
    write(format!("{}{} bytes\n", told.concat(), body.len()).as_bytes());
}

/// Writes what there is to be written, all at once.
fn write(bytes: &[u8]) {
    let mut output = io::stdout();
    // Where nobody reads it, there is nobody to tell either.
    let _ = output.write_all(bytes).and_then(|()| output.flush());
}

/// How much the body is, and whether it is what it should be.
fn sum() {
    let mut body = Vec::new();
    let _ = io::stdin().read_to_end(&mut body);
    let wrong =
        body.iter().enumerate().filter(|(at, byte)| same_answers_guest::pattern(*at) != **byte).count();
    write(format!("{} bytes, {wrong} of them wrong", body.len()).as_bytes());
}
