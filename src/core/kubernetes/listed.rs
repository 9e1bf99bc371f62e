//! What lists and watches have in common, whatever the kind of objects.

/// What an event of a watch came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Happened {
    /// A slice is new, differs or is gone.
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
