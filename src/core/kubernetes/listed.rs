//! What lists and watches have in common, whatever the kind of objects.

use serde_json::Value;

use crate::core::kubernetes::objects::{Event, Status};

/// The status of a version that is no longer kept.
const GONE: u16 = 410;
/// Bytes of a resource version or of a token for the next page.
pub(super) const TOKEN_LEN_MAX: usize = 16 << 10;

/// What an event of a watch came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Happened {
    /// An object is new, differs or is gone.
    Changed,
    /// Nothing but the version.
    Bookmark,
    /// The version is no longer kept: everything has to be listed again.
    Gone,
    /// The watch fails for this reason.
    Failed(String),
}

/// Objects of one kind, by a list and the events of a watch since.
pub trait Listed: Default {
    /// The version from which a watch continues.
    fn version(&self) -> &str;

    /// Takes a page of a list; returns the token for the next page, if there is one.
    ///
    /// # Errors
    /// When the page is not as documented, or there are too many objects.
    fn page(&mut self, body: &[u8]) -> Result<Option<String>, AnswerFault>;

    /// Takes an event of a watch.
    ///
    /// # Errors
    /// When the event is not as documented, or there are too many objects.
    fn event(&mut self, line: &[u8]) -> Result<Happened, AnswerFault>;
}

/// Why an answer is not used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AnswerFault {
    /// It is not what the documentation of the API says.
    #[error("the answer is not as documented: {0}")]
    Form(&'static str),
    /// There are too many objects.
    #[error("the Service has more than {0} EndpointSlices")]
    TooMany(usize),
    /// The Service has no such port.
    #[error("the Service has no port {0}")]
    NoPort(String),
}

impl From<serde_json::Error> for AnswerFault {
    /// Without a quotation of the answer.
    fn from(error: serde_json::Error) -> Self {
        Self::Form(match error.classify() {
            serde_json::error::Category::Data => "a value of another type",
            serde_json::error::Category::Eof => "it ends too early",
            _ => "no JSON",
        })
    }
}

/// An event of a watch.
pub(super) enum WatchEvent {
    /// Of an object at this version.
    Object { version: String, change: Change },
    /// The watch is over.
    Over(Happened),
}

/// What has happened to an object.
pub(super) enum Change {
    /// It is new, or differs.
    Put(Value),
    Delete(Value),
    /// Only the version is new.
    Nothing,
}

impl WatchEvent {
    /// Reads a line of a watch.
    ///
    /// # Errors
    /// When it is not as documented.
    pub(super) fn read(line: &[u8]) -> Result<Self, AnswerFault> {
        let event: Event = serde_json::from_slice(line)?;
        if event.kind == "ERROR" {
            let status: Status = serde_json::from_value(event.object)?;
            return Ok(Self::Over(match status.code {
                Some(GONE) => Happened::Gone,
                _ => Happened::Failed(status.text()),
            }));
        }
        let version = event.object.pointer("/metadata/resourceVersion");
        let version = version.and_then(Value::as_str).map(str::to_owned);
        let version = token(version)?.ok_or(AnswerFault::Form("no resourceVersion"))?;
        let change = match event.kind.as_str() {
            "ADDED" | "MODIFIED" => Change::Put(event.object),
            "DELETED" => Change::Delete(event.object),
            "BOOKMARK" => Change::Nothing,
            _ => return Err(AnswerFault::Form("an event of an unknown type")),
        };
        Ok(Self::Object { version, change })
    }
}

/// A token that is sent back as it came; an empty one is none.
pub(super) fn token(text: Option<String>) -> Result<Option<String>, AnswerFault> {
    let text = text.filter(|text| !text.is_empty());
    match text.as_ref().is_some_and(|text| text.len() > TOKEN_LEN_MAX) {
        true => Err(AnswerFault::Form("a version or a token of many bytes")),
        false => Ok(text),
    }
}
