//! `static` of a route, checked.

use std::path::PathBuf;

use http::HeaderValue;

/// Files of a directory as the answer to requests.
#[derive(Clone, Debug, PartialEq)]
pub struct StaticFiles {
    /// Where they are; it exists, or did when the configuration was read.
    pub directory: PathBuf,
    /// The file that stands for its directory. Default `index.html`.
    pub index: String,
    /// The file that navigations get where there is none of their path.
    pub fallback: Option<String>,
    /// The value of `Cache-Control`.
    pub cache_control: HeaderValue,
    /// That of files under `immutable`.
    pub cache_control_immutable: HeaderValue,
    /// Folders whose files never change, each `name/` or `name/name/`.
    pub immutable: Vec<String>,
    /// Whether `name.br`, `name.zst` and `name.gz` stand for `name`. Default true.
    pub precompressed: bool,
}

impl StaticFiles {
    /// The value of `Cache-Control` of a file.
    pub fn cache_control(&self, name: &str) -> &HeaderValue {
        let mut folders = self.immutable.iter();
        match folders.any(|folder| name.starts_with(folder.as_str())) {
            true => &self.cache_control_immutable,
            false => &self.cache_control,
        }
    }
}
