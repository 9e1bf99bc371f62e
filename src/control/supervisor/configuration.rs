//! Where the configuration is read at each reload.

use std::path::Path;

use crate::control::load::{self, Faults, LoadOptions, Loaded};

/// What is read at each reload.
#[derive(Clone, Debug)]
pub enum Configuration {
    /// The file that the options name.
    File(LoadOptions),
    /// A text that is built in, as if it stood in that file.
    BuiltIn(LoadOptions, &'static str),
}

impl Configuration {
    /// Reads it.
    ///
    /// # Errors
    /// Every fault at once.
    pub fn load(&self) -> Result<Loaded, Faults> {
        match self {
            Self::File(options) => load::load(options),
            Self::BuiltIn(options, text) => load::load_text(options, text),
        }
    }

    /// The file's name.
    pub fn path(&self) -> &Path {
        let (Self::File(options) | Self::BuiltIn(options, _)) = self;
        &options.path
    }

    /// What is read, from where.
    pub(super) fn options(&self) -> &LoadOptions {
        let (Self::File(options) | Self::BuiltIn(options, _)) = self;
        options
    }
}
