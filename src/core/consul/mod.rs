//! What Consul's HTTP API says: the index of a blocking query, instances of a service, keys below a
//! prefix. Everything in an answer is untrusted and bounded here.

mod cursor;
mod instances;
mod keys;

pub use cursor::{Cursor, Moved};
pub use instances::instances;
pub use keys::{Pair, pairs};

/// Why an answer is not used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AnswerFault {
    /// It is not what the documentation of the API says.
    #[error("the answer is not as documented: {0}")]
    Form(String),
    /// There are too many keys.
    #[error("there are more than {0} keys")]
    TooMany(usize),
}

impl From<serde_json::Error> for AnswerFault {
    /// Without a quotation of the answer, which may hold a secret.
    fn from(error: serde_json::Error) -> Self {
        let kind = match error.classify() {
            serde_json::error::Category::Data => "a value of another type",
            serde_json::error::Category::Eof => "it ends too early",
            _ => "no JSON",
        };
        Self::Form(format!("{kind} at byte {}", error.column()))
    }
}
