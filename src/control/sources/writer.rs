//! Writes documents to a source, where it can be written to.

use std::fmt;
use std::pin::Pin;
use std::time::Duration;

/// A change to a source that the gateway itself makes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// A document, in place of one of the same key.
    Put {
        /// Below the source's prefix.
        key: String,
        /// JSON.
        text: String,
        /// After that it may go by itself.
        lives: Option<Duration>,
    },
    /// Takes a document out.
    Delete {
        /// Below the source's prefix.
        key: String,
    },
}

type Written = Pin<Box<dyn Future<Output = Result<(), String>> + Send>>;

/// Writes to a source.
pub struct Writer(Box<dyn Fn(Write) -> Written + Send + Sync>);

impl Writer {
    /// One that writes so.
    pub fn new<F>(write: impl Fn(Write) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<(), String>> + Send + 'static,
    {
        Self(Box::new(move |one| Box::pin(write(one))))
    }

    /// Writes.
    ///
    /// # Errors
    /// In a sentence; the source may have taken it all the same, if it only did not answer in time.
    pub async fn write(&self, one: Write) -> Result<(), String> {
        (self.0)(one).await
    }
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer").finish_non_exhaustive()
    }
}
