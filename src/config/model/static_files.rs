//! `static` of a route.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Files of a directory, in place of an upstream. Only the configuration file can have it;
/// documents of etcd cannot.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct StaticFiles {
    /// Required. The directory. Neither `..` nor symbolic links lead out of it, and names that
    /// begin with a dot are not served, except `.well-known`.
    pub dir: Option<String>,
    /// The file that stands for its directory.
    pub index: String,
    /// The file that a navigation gets if there is none of its path, with status 200: the page of
    /// an application that routes by itself. Scripts, pictures and calls of APIs get 404. None:
    /// 404.
    pub fallback: Option<String>,
    /// `Cache-Control` of files. Default: `no-cache`, which means that a browser asks each time and
    /// gets 304 while the file is the same; `private, no-cache` on routes with authenticators.
    pub cache_control: Option<String>,
    /// Folders of `dir` whose files have a hash in their names, `["assets"]`: browsers keep them
    /// for a year and do not ask again.
    pub immutable: Vec<String>,
    /// Whether `name.br`, `name.zst` or `name.gz` is sent in place of `name` to clients that decode
    /// it.
    pub precompressed: bool,
}

impl Default for StaticFiles {
    fn default() -> Self {
        Self {
            dir: None,
            index: "index.html".to_owned(),
            fallback: None,
            cache_control: None,
            immutable: Vec::new(),
            precompressed: true,
        }
    }
}
