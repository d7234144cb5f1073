//! The terminal: taken over, drawn on, and given back as it was, also after a panic.

use super::frame::{Line, Sort, Style};
use crate::failure::Failure;
use crossterm::{
    cursor,
    event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers},
    execute, queue,
    style::{Attribute, Color, Print, SetAttribute, SetForegroundColor},
    terminal,
};
use std::{
    io::{self, Write as _},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::sync::mpsc;

/// How often the reader of keys looks whether it shall end.
const LOOK: Duration = Duration::from_millis(100);

/// What was pressed.
pub(super) enum Key {
    Quit,
    Sort(Sort),
    Redraw,
}

/// The terminal, taken over. Given back when dropped.
pub(super) struct Screen {
    keys: mpsc::Receiver<Key>,
    over: Arc<AtomicBool>,
}

impl Screen {
    pub(super) fn open() -> Result<Self, Failure> {
        terminal::enable_raw_mode().map_err(Failure::io("the terminal"))?;
        // A panic's message would be lost with the screen that it was written on.
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            give_back();
            usual(panic);
        }));
        let (sender, keys) = mpsc::channel(16);
        let over = Arc::new(AtomicBool::new(false));
        let screen = Self { keys, over: Arc::clone(&over) };
        execute!(io::stdout(), terminal::EnterAlternateScreen, cursor::Hide)
            .map_err(Failure::io("the terminal"))?;
        std::thread::spawn(move || read_keys(&sender, &over));
        Ok(screen)
    }

    /// What is pressed next; `None`: the terminal is gone.
    pub(super) async fn key(&mut self) -> Option<Key> {
        self.keys.recv().await
    }

    /// Draws what `lines` makes for the size that the terminal has now.
    pub(super) fn draw(&mut self, lines: impl FnOnce(usize, usize) -> Vec<Line>) -> Result<(), Failure> {
        let (columns, rows) = terminal::size().map_err(Failure::io("the terminal"))?;
        paint(&lines(columns.into(), rows.into())).map_err(Failure::io("the terminal"))
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        give_back();
    }
}

/// Where that fails the terminal is gone, and nobody is left to tell.
fn give_back() {
    let _ = execute!(io::stdout(), terminal::LeaveAlternateScreen, cursor::Show);
    let _ = terminal::disable_raw_mode();
}

/// All at once, and over what was there: nothing flickers.
fn paint(lines: &[Line]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    queue!(out, terminal::BeginSynchronizedUpdate)?;
    for (row, line) in (0u16..).zip(lines) {
        queue!(out, cursor::MoveTo(0, row))?;
        match line.style {
            Style::Plain => {}
            Style::Head => queue!(out, SetAttribute(Attribute::Bold))?,
            Style::Faint => queue!(out, SetAttribute(Attribute::Dim))?,
            Style::Alarm => queue!(out, SetForegroundColor(Color::Red))?,
        }
        let end = terminal::Clear(terminal::ClearType::UntilNewLine);
        queue!(out, Print(&line.text), SetAttribute(Attribute::Reset), end)?;
    }
    queue!(out, terminal::EndSynchronizedUpdate)?;
    out.flush()
}

fn read_keys(keys: &mpsc::Sender<Key>, over: &AtomicBool) {
    while !over.load(Ordering::Relaxed) {
        let event = match event::poll(LOOK) {
            Ok(false) => continue,
            Ok(true) => event::read(),
            Err(error) => Err(error),
        };
        // A terminal that cannot be read has gone: dropping the sender says so.
        let Ok(event) = event else { return };
        if let Some(key) = meant(&event)
            && keys.blocking_send(key).is_err()
        {
            return;
        }
    }
}

fn meant(event: &Event) -> Option<Key> {
    match event {
        Event::Resize(..) => Some(Key::Redraw),
        Event::Key(KeyEvent { kind: KeyEventKind::Release, .. }) => None,
        Event::Key(KeyEvent { code: KeyCode::Char('c'), modifiers, .. })
            if modifiers.contains(KeyModifiers::CONTROL) =>
        {
            Some(Key::Quit)
        }
        Event::Key(KeyEvent { code, .. }) => match code {
            KeyCode::Char('q') | KeyCode::Esc => Some(Key::Quit),
            KeyCode::Char('n') => Some(Key::Sort(Sort::Name)),
            KeyCode::Char('r') => Some(Key::Sort(Sort::Rate)),
            KeyCode::Char('l') => Some(Key::Sort(Sort::Latency)),
            KeyCode::Char('e') => Some(Key::Sort(Sort::Errors)),
            KeyCode::Char('f') => Some(Key::Sort(Sort::InFlight)),
            KeyCode::Char('i') => Some(Key::Sort(Sort::Instances)),
            _ => None,
        },
        _ => None,
    }
}
