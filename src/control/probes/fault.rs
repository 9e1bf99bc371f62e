//! Why a probe failed, in the words that operators read: what was expected, and what came.

use std::fmt;
use std::time::Duration;

use crate::base::causes;
use crate::core::wire::violation::Violation;
use crate::io::net::dial::DialError;
use crate::io::tls::client::ClientTlsError;

/// Of a text that a backend sent, how many characters are shown.
const QUOTED_MAX: usize = 80;

/// A backend did not pass a probe.
#[derive(Debug, thiserror::Error)]
pub enum ProbeFault {
    /// No connection.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// The backend's host is no name for TLS.
    #[error(transparent)]
    Tls(#[from] ClientTlsError),
    /// The path or the host is nothing that HTTP can carry.
    #[error("the probe's request cannot be written")]
    Request(#[from] http::Error),
    /// The time ran out on the open connection.
    #[error("timed out after {after:?} while {doing}")]
    TimedOut {
        /// The time that the whole probe had.
        after: Duration,
        /// What was going on.
        doing: Doing,
    },
    /// The connection ended, or HTTP was broken.
    #[error("failed while {doing}")]
    Http {
        /// What was going on.
        doing: Doing,
        /// hyper's reason.
        source: hyper::Error,
    },
    /// The connection broke off.
    #[error("failed while {doing}")]
    Lost {
        /// What was going on.
        doing: Doing,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A frame that would end a session, too.
    #[error("failed while {doing}")]
    Frame {
        /// What was going on.
        doing: Doing,
        /// What is wrong with it.
        source: Violation,
    },
    /// More than a probe reads.
    #[error("the backend sent more than {most} MiB while {doing}")]
    Endless {
        /// Megabytes.
        most: u64,
        /// What was going on.
        doing: Doing,
    },
    /// Another status than the expected.
    #[error("expected status {expected}, got {came}")]
    Status {
        /// Ranges, as text.
        expected: String,
        /// The answer's.
        came: u16,
    },
    /// The expected text is not there.
    #[error("the first {looked} bytes of the body do not contain {}", quoted(.expected))]
    Body {
        /// The text.
        expected: String,
        /// How much was looked at.
        looked: usize,
    },
    /// A 101 without what RFC 6455, section 4.1 asks of it.
    #[error("the 101 should have `{name}: {expected}`, got {}", shown(came.as_deref()))]
    Upgrade {
        /// The header field.
        name: http::HeaderName,
        /// What it should have been.
        expected: String,
        /// What it was, if it was there.
        came: Option<String>,
    },
    /// The backend closed first.
    #[error("the backend closed with {code} {} while {doing}", quoted(reason))]
    Closed {
        /// The close code; 1005 if there was none.
        code: u16,
        /// The close reason.
        reason: String,
        /// What was going on.
        doing: Doing,
    },
    /// No close frame at the end.
    #[error("the backend ended the connection without a close frame while {doing}")]
    Unclean {
        /// What was going on.
        doing: Doing,
    },
}

impl ProbeFault {
    /// The fault and its causes on one line.
    pub fn reason(&self) -> String {
        causes::chain(self)
    }
}

/// What a probe is busy with once the connection stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Doing {
    /// Waiting for the answer's head.
    Asking,
    /// Reading the body.
    Reading,
    /// Sending the message.
    Sending,
    /// Waiting for the message.
    Expecting {
        /// Text that it must contain.
        expected: String,
        /// The last message that did not.
        last: Option<String>,
    },
    /// Waiting for the pong.
    Pinging {
        /// Whether a pong came that carried something else.
        wrong: bool,
    },
}

impl fmt::Display for Doing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Asking => f.write_str("waiting for the answer"),
            Self::Reading => f.write_str("reading the body"),
            Self::Sending => f.write_str("sending the message"),
            Self::Expecting { expected, last } => {
                write!(f, "waiting for a message with {}", quoted(expected))?;
                match last {
                    Some(last) => write!(f, " (last came {})", quoted(last)),
                    None => Ok(()),
                }
            }
            Self::Pinging { wrong: false } => f.write_str("waiting for the pong"),
            Self::Pinging { wrong: true } => {
                f.write_str("waiting for the pong (one came with another payload)")
            }
        }
    }
}

fn shown(came: Option<&str>) -> String {
    came.map_or_else(|| "none".to_owned(), quoted)
}

/// A text in backquotes, short and without control characters.
fn quoted(text: &str) -> String {
    let mut shown: String = text.chars().take(QUOTED_MAX).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    format!("`{}`", shown.escape_debug())
}
