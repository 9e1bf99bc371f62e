//! Why there is no connection to a broker or to the store of the fleet's state.

use std::error::Error;
use std::io;

use crate::base::text::steers;
use crate::io::net::dial::DialError;
use crate::io::tls::client::ClientTlsError;

/// Longest text of a server that is shown.
const TEXT_MAX: usize = 200;

/// Why a connection could not be made, or has ended.
#[derive(Debug, thiserror::Error)]
pub(in crate::io) enum Fault {
    /// No server listens there.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// A file of its TLS is wrong.
    #[error(transparent)]
    Tls(#[from] ClientTlsError),
    /// The server's certificate is not valid, or it speaks no TLS.
    #[error("TLS handshake failed")]
    Handshake(#[source] io::Error),
    /// The network broke it.
    #[error("the connection broke")]
    Io(#[from] io::Error),
    /// The server ended it.
    #[error("the server closed the connection")]
    Closed,
    /// There was no sign-in in time.
    #[error("no answer within {0:?}")]
    Late(std::time::Duration),
    /// The server gives no sign of life.
    #[error("the server has stopped answering")]
    Silent,
    /// The server refuses.
    #[error("the server refuses: {0}")]
    Refused(String),
    /// The server lacks something.
    #[error("{0}")]
    Unfit(&'static str),
    /// It is not the protocol.
    #[error("the server does not speak {0}, or breaks its rules")]
    Protocol(&'static str),
}

impl Fault {
    /// A refusal in the server's words.
    pub(in crate::io) fn refused(text: &str) -> Self {
        Self::Refused(shown(text))
    }

    /// The whole chain of causes on one line.
    pub(in crate::io) fn text(&self) -> String {
        let mut text = self.to_string();
        let mut cause = self.source();
        while let Some(error) = cause {
            text.push_str(": ");
            text.push_str(&error.to_string());
            cause = error.source();
        }
        text
    }
}

/// The words of a server as they can be shown to a person: short, and without characters that do
/// something.
pub(in crate::io) fn shown(text: &str) -> String {
    let plain = |letter| if steers(letter) { ' ' } else { letter };
    text.chars().take(TEXT_MAX).map(plain).collect()
}
