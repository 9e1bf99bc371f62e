//! The configuration file as a source: it is read as a whole, at each reload and when it changes.

use std::fmt;
use std::sync::Arc;

use crate::base::source_id::SourceId;
use crate::control::sources::source::{Source, Work};
use crate::control::sources::status::{FileStatus, SourceStatus};
use crate::control::supervisor::Supervisor;

/// The file that the supervisor reads.
pub struct FileSource(pub Arc<Supervisor>);

impl fmt::Debug for FileSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("FileSource").field(&self.0.path()).finish()
    }
}

impl Source for FileSource {
    fn id(&self) -> SourceId {
        SourceId::File
    }

    fn status(&self) -> SourceStatus {
        let refused = self.0.refused().map(|refused| {
            let fault = refused.faults.first().map(ToString::to_string);
            (refused.at, fault.unwrap_or_default())
        });
        SourceStatus::File(FileStatus {
            path: self.0.path().to_owned(),
            loaded: self.0.loaded_at(),
            refused,
        })
    }

    fn follow(self: Arc<Self>) -> Work<()> {
        Box::pin(async move {
            if self.0.loaded().snapshot.sources.watch_file {
                self.0.follow_files().await;
            }
        })
    }
}
