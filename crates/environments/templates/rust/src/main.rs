use std::io::{self, Write};

/// Started for every request: the body comes on standard input, what is printed is the answer. Headers are
/// variables (`Http_Content_Type`, `Http_Method`, `Http_Path`, `Http_Query`). What goes to standard error is
/// logged. An exit code other than 0 makes the call fail.
fn main() -> io::Result<()> {
    let input: serde_json::Value = serde_json::from_reader(io::stdin()).unwrap_or_default();
    let name = input["name"].as_str().unwrap_or("World");
    writeln!(io::stdout(), "Hello, {name}!")
}
