//! `xebec top`

mod frame;
mod latency;
mod sample;
mod screen;

use crate::{
    client::{Client, ServerArguments},
    failure::Failure,
    output::{self, Format},
};
use frame::{Frame, Sort};
use sample::Sample;
use screen::{Key, Screen};
use std::{collections::VecDeque, io::IsTerminal as _, time::Duration};
use tokio::signal::unix::{SignalKind, signal};
use xebec_api_native::wire::Span;

/// Samples that rates and latencies are worked out from: few enough to follow a change, enough to be steady.
const WINDOW: usize = 6;

/// How long the server may take for one sample.
const PATIENCE: Duration = Duration::from_secs(5);

/// Watch functions and queues, live
///
/// Rates and latencies are those of the last few seconds; latencies are estimated from the server's buckets.
/// Keys: q quits; n, r, l, e, f and i sort by name, rate, latency, errors, calls in flight and instances.
#[derive(Debug, clap::Args)]
pub(crate) struct Top {
    /// Print one frame as text and end; so it is where standard output is no terminal
    #[arg(long)]
    once: bool,
    /// Time between frames
    #[arg(long, default_value = "1s", value_name = "SPAN", value_parser = interval)]
    interval: Span,
    /// What to sort by at first
    #[arg(long, value_enum, default_value_t)]
    sort: Sort,
}

fn interval(text: &str) -> Result<Span, String> {
    let span: Span = text.parse()?;
    if span.0 < Duration::from_millis(100) || span.0 > Duration::from_secs(3600) {
        return Err("it must be from 100ms to 1h".to_owned());
    }
    Ok(span)
}

impl Top {
    pub(crate) async fn run(self, server: &ServerArguments, format: Format) -> Result<(), Failure> {
        let client = Client::new(server)?;
        let first = sample(&client).await?;
        if self.once || format == Format::Json || !std::io::stdout().is_terminal() {
            tokio::time::sleep(self.interval.0).await;
            let frame = Frame::new(&first, &sample(&client).await?, self.sort);
            return output::print(format, &frame, || frame.text(server));
        }
        self.watch(&client, server, first).await
    }

    async fn watch(&self, client: &Client, server: &ServerArguments, first: Sample) -> Result<(), Failure> {
        let mut screen = Screen::open()?;
        let mut terminate = signal(SignalKind::terminate()).map_err(Failure::io("signals"))?;
        let mut ticks = tokio::time::interval(self.interval.0);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut window = VecDeque::from([first]);
        let mut sort = self.sort;
        let mut trouble = None;
        loop {
            if let (Some(oldest), Some(newest)) = (window.front(), window.back()) {
                let frame = Frame::new(oldest, newest, sort);
                screen.draw(|columns, rows| frame.lines(server, trouble.as_deref(), columns, rows))?;
            }
            tokio::select! {
                key = screen.key() => match key {
                    Some(Key::Quit) | None => return Ok(()),
                    Some(Key::Sort(by)) => sort = by,
                    Some(Key::Redraw) => {}
                },
                _ = terminate.recv() => return Ok(()),
                _ = ticks.tick() => match sample(client).await {
                    Ok(sample) => {
                        trouble = None;
                        window.push_back(sample);
                        if window.len() > WINDOW {
                            window.pop_front();
                        }
                    }
                    // The server may come back.
                    Err(failure) => trouble = Some(failure.message),
                },
            }
        }
    }
}

async fn sample(client: &Client) -> Result<Sample, Failure> {
    let late = |_| Failure::new("the server takes too long to answer");
    tokio::time::timeout(PATIENCE, Sample::take(client)).await.map_err(late)?
}
