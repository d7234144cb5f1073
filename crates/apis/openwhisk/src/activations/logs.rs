//! What activations printed.

use futures_util::StreamExt as _;
use xebec_core::{
    Error, InvocationId,
    log::{CUT_OFF, LogLine, LogQuery, LogStream},
    ports::control::Control,
};

/// Lines of one activation at most.
const MOST: u32 = 10_000;

/// What an activation printed, line by line, oldest first.
///
/// # Errors
/// What [`Control::logs`] says.
pub(crate) async fn printed(control: &dyn Control, id: &InvocationId) -> Result<Vec<String>, Error> {
    let query = LogQuery { invocation: Some(*id), tail: Some(MOST), ..LogQuery::default() };
    let lines = control.logs(query, false).await?;
    Ok(lines.filter_map(|line| std::future::ready(formatted(&line))).collect().await)
}

/// The time padded to thirty characters, the stream, the text. What the platform says of the instance is no part
/// of it, but that something was cut off is.
fn formatted(line: &LogLine) -> Option<String> {
    let (stream, text) = match line.stream {
        LogStream::Stdout => ("stdout", line.text.clone()),
        LogStream::Stderr => ("stderr", line.text.clone()),
        LogStream::Platform => {
            let bytes = line.text.strip_prefix(CUT_OFF)?;
            let sentence = "Logs were truncated because the total bytes size exceeds the limit of";
            ("stderr", format!("{sentence} {bytes} bytes."))
        }
    };
    let time = format!("{:.9}", line.time);
    Some(format!("{time:<30} {stream}: {text}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use xebec_core::{FunctionKey, Tenant};

    fn line(stream: LogStream, text: &str) -> Option<String> {
        formatted(&LogLine {
            time: "2024-01-02T03:04:05.678Z".parse().unwrap(),
            function: FunctionKey::new(&Tenant::new("ns"), "openwhisk", "a"),
            instance: String::new(),
            invocation: None,
            stream,
            text: text.to_owned(),
        })
    }

    #[test]
    fn lines_have_their_form() {
        let out = line(LogStream::Stdout, "  hey").unwrap();
        assert_eq!(out, "2024-01-02T03:04:05.678000000Z stdout:   hey");
        assert_eq!(line(LogStream::Stderr, "").unwrap(), "2024-01-02T03:04:05.678000000Z stderr: ");
        assert_eq!(line(LogStream::Platform, "the instance is gone"), None);
        assert_eq!(
            line(LogStream::Platform, &format!("{CUT_OFF}1048576")).unwrap(),
            "2024-01-02T03:04:05.678000000Z stderr: Logs were truncated because the total bytes size exceeds the \
             limit of 1048576 bytes."
        );
    }
}
