//! `sessile top`: who sends most now, the hottest keys, and upstreams whose load is skewed. Live in
//! a terminal, plain tables elsewhere.

mod screen;
mod text;

use std::io::{self, IsTerminal as _, Write};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use form_urlencoded::Serializer;
use ratatui::crossterm::event::{self, Event, KeyEventKind};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::cli::args::TopArgs;
use crate::cli::client::{Client, ClientError};
use crate::cli::listed::scoped;
use crate::cli::print::{Form, columns, json};
use crate::cli::top::screen::{Action, Screen, Wish};
use crate::cli::top::text::{Top, findings, summary};

/// How long a key waits to be seen.
const KEY_WAIT: Duration = Duration::from_millis(100);
/// Between two tries of a gateway that does not answer.
const RETRY: Duration = Duration::from_secs(1);

/// Shows who sends most.
///
/// # Errors
/// When the gateway does not answer, or `out` cannot be written to.
pub fn top(args: &TopArgs, out: &mut dyn Write) -> anyhow::Result<u8> {
    let client = Client::new(&args.admin)?;
    let wish = Wish::of(args);
    if args.json {
        let top: Value = fetch(&client, args, &wish)?;
        json(out, &top, Form::Pretty)?;
    } else if args.once {
        show(out, &fetch(&client, args, &wish)?)?;
    } else if io::stdout().is_terminal() && io::stdin().is_terminal() {
        watch(&client, args, wish)?;
    } else {
        loop {
            show(out, &fetch(&client, args, &wish)?)?;
            writeln!(out)?;
            out.flush()?;
        }
    }
    Ok(0)
}

fn fetch<T: DeserializeOwned>(
    client: &Client,
    args: &TopArgs,
    wish: &Wish,
) -> Result<T, ClientError> {
    let mut query = Serializer::new(String::new());
    args.selection.append(&mut query);
    query.extend_pairs(wish.filter.iter().map(|(name, value)| (name, value)));
    query.append_pair("by", wish.by);
    query.append_pair("interval", &args.interval);
    query.append_pair("limit", &args.limit.to_string());
    client.get(&scoped(&format!("/v1/top?{}", query.finish()), args.fleet))
}

/// Plain tables.
fn show(out: &mut dyn Write, top: &Top) -> io::Result<()> {
    writeln!(out, "{}", summary(top))?;
    for line in findings(top) {
        writeln!(out, "{line}")?;
    }
    columns(out, &top.head(), top.rows())
}

/// The live screen: one thread asks the gateway, this one draws and reads keys.
fn watch(client: &Client, args: &TopArgs, wish: Wish) -> anyhow::Result<()> {
    let (wishes, asked) = mpsc::channel::<Wish>();
    let (answers, answered) = mpsc::channel();
    thread::scope(|scope| {
        let first = wish.clone();
        scope.spawn(move || {
            let mut wish = first;
            loop {
                // Only the last one counts.
                loop {
                    match asked.try_recv() {
                        Ok(newer) => wish = newer,
                        Err(mpsc::TryRecvError::Empty) => break,
                        Err(mpsc::TryRecvError::Disconnected) => return,
                    }
                }
                let top = fetch(client, args, &wish);
                let failed = top.is_err();
                if answers.send(top).is_err() {
                    return;
                }
                if failed {
                    thread::sleep(RETRY);
                }
            }
        });
        let mut terminal = ratatui::init();
        let mut screen = Screen::new(wish);
        let done = loop {
            while let Ok(answer) = answered.try_recv() {
                screen.answer(answer.map_err(|error| error.to_string()));
            }
            if let Err(error) = terminal.draw(|frame| screen.draw(frame)) {
                break Err(error);
            }
            match key() {
                Err(error) => break Err(error),
                Ok(None) => {}
                Ok(Some(key)) => match screen.key(key) {
                    Action::Quit => break Ok(()),
                    Action::Ask(wish) => drop(wishes.send(wish)),
                    Action::None => {}
                },
            }
        };
        ratatui::restore();
        drop((wishes, answered));
        done.map_err(Into::into)
    })
}

/// The key that is pressed, if one is.
fn key() -> io::Result<Option<event::KeyEvent>> {
    if !event::poll(KEY_WAIT)? {
        return Ok(None);
    }
    Ok(match event::read()? {
        Event::Key(key) if key.kind == KeyEventKind::Press => Some(key),
        _ => None,
    })
}
