//! The log of what happens: events of `tracing`, written to standard error. Records of sessions and
//! requests are not events, see `records`.

use std::fmt::Write as _;
use std::io;
use std::sync::{Arc, PoisonError, RwLock};

use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer as _, Registry, fmt, reload};

use crate::base::text::steers;
use crate::config::snapshot::{Log, LogFormat};

/// Lines queued for standard error; further ones are dropped, so that a blocked terminal does not
/// stop a worker.
const LINES_WAITING_MAX: usize = 16_384;

/// Why the log could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The level is not understood.
    #[error("`{0}` is not a log level; write `info`, or `info,sessile::proxy=debug`")]
    Level(String),
    /// The process has a log already.
    #[error("the log was set up before")]
    Twice,
    /// The log that the level belongs to is gone.
    #[error("the log has ended")]
    Ended,
}

/// Changes the level while the gateway runs.
#[derive(Clone, Debug)]
pub struct LogLevel {
    filter: reload::Handle<Targets, Registry>,
    now: Arc<RwLock<String>>,
}

impl LogLevel {
    /// Takes effect at once, for all threads.
    ///
    /// # Errors
    /// When `level` is not a list of directives; the old one stays then.
    pub fn set_level(&self, level: &str) -> Result<(), LogError> {
        let filter = parse(level)?;
        let mut now = self.now.write().unwrap_or_else(PoisonError::into_inner);
        self.filter.reload(filter).map_err(|_| LogError::Ended)?;
        level.clone_into(&mut now);
        Ok(())
    }

    /// The level in force, as it was written.
    pub fn level(&self) -> String {
        self.now
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

/// Sets the process's log up. The guard writes out what waits when it is dropped.
///
/// # Errors
/// When the level is not understood, or the process has a log.
pub fn init(log: &Log) -> Result<(LogLevel, WorkerGuard), LogError> {
    let (writer, guard) = NonBlockingBuilder::default()
        .buffered_lines_limit(LINES_WAITING_MAX)
        .thread_name("log")
        .finish(Visible(io::stderr()));
    let (filter, handle) = reload::Layer::new(parse(&log.level)?);
    let form = match log.format {
        LogFormat::Text => fmt::layer().with_ansi(false).with_writer(writer).boxed(),
        LogFormat::Json => fmt::layer()
            .json()
            .flatten_event(true)
            .with_writer(writer)
            .boxed(),
    };
    let subscriber = Registry::default().with(filter).with(form);
    subscriber.try_init().map_err(|_| LogError::Twice)?;
    let now = Arc::new(RwLock::new(log.level.clone()));
    Ok((
        LogLevel {
            filter: handle,
            now,
        },
        guard,
    ))
}

/// Writes lines without terminal control characters or invisible text, since lines contain names of
/// documents, subprotocols and other untrusted text. Each call has one line that ends in `\n`.
struct Visible<W>(W);

impl<W: io::Write> io::Write for Visible<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(line);
        let (body, end) = match text.strip_suffix('\n') {
            Some(body) => (body, "\n"),
            None => (&*text, ""),
        };
        if !body.chars().any(steers) {
            self.0.write_all(line)?;
            return Ok(line.len());
        }
        let mut shown = String::with_capacity(line.len() + 32);
        for character in body.chars() {
            if steers(character) {
                write!(shown, "\\u{:04x}", u32::from(character)).expect("a string takes all");
            } else {
                shown.push(character);
            }
        }
        shown.push_str(end);
        self.0.write_all(shown.as_bytes())?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

fn parse(level: &str) -> Result<Targets, LogError> {
    let wrong = || LogError::Level(level.to_owned());
    // `Targets` takes a bare word that is no level for a module, and nothing for silence: a slip
    // would turn off everything else.
    let bare = |directive: &&str| !directive.contains('=');
    let level_word = |word: &str| !word.is_empty() && word.parse::<LevelFilter>().is_ok();
    let mut words = level.split(',').filter(bare);
    if !words.all(|word| level_word(word.trim())) {
        return Err(wrong());
    }
    level.parse().map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_the_log_steers_a_terminal() {
        let mut written = Vec::new();
        let line = "chose `a\u{1b}[2J\u{9b}1m\u{202e}b\u{2066}\rc`, gr\u{fc}n\n";
        io::Write::write_all(&mut Visible(&mut written), line.as_bytes()).expect("a vector");
        let written = String::from_utf8(written).expect("text");
        let expected = "chose `a\\u001b[2J\\u009b1m\\u202eb\\u2066\\u000dc`, gr\u{fc}n\n";
        assert_eq!(written, expected);
    }

    #[test]
    fn the_level_changes_while_it_runs_and_a_wrong_one_changes_nothing() {
        let (_layer, filter) = reload::Layer::new(parse("info").expect("a level"));
        let level = LogLevel {
            filter,
            now: Arc::new(RwLock::new("info".to_owned())),
        };
        level
            .set_level("warn,sessile::proxy=debug")
            .expect("a level");
        for wrong in [
            "",
            " ",
            "inof",
            "info,",
            "sessile::proxy",
            "sessile=louder",
            "a=b=c",
        ] {
            let error = level.set_level(wrong).expect_err(wrong);
            assert!(error.to_string().contains("not a log level"), "{error}");
        }
        assert_eq!(level.level(), "warn,sessile::proxy=debug");
    }
}
