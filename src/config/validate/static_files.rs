//! `static` of a route.

use http::HeaderValue;

use crate::base::file_path::FilePath;
use crate::config::model;
use crate::config::snapshot::StaticFiles;
use crate::config::validate::scope::Scope;

/// Folders of one route; each is compared with the names of files.
const IMMUTABLE_MAX: usize = 64;

/// A year, the longest that RFC 9111's authors had in mind.
const IMMUTABLE: &str = "max-age=31536000, immutable";

pub(super) fn static_files(
    at: &Scope<'_>,
    model: &model::StaticFiles,
    authenticated: bool,
) -> Option<StaticFiles> {
    let directory = at.required("dir", &model.dir, "dir = \"/srv/www\"");
    let directory = directory.and_then(|text| {
        let (at, path) = (at.key("dir"), at.resolve(text));
        let known = at.outside().directory(&path);
        known.map_err(|why| at.fault(why)).ok().map(|()| path)
    });
    let index = file(&at.key("index"), &model.index);
    let fallback = match &model.fallback {
        Some(name) => file(&at.key("fallback"), name).map(Some),
        None => Some(None),
    };
    let (keep, keep_immutable) = cache_control(at, model, authenticated);
    let immutable = immutable(&at.key("immutable"), &model.immutable);
    Some(StaticFiles {
        directory: directory?,
        index: index?,
        fallback: fallback?,
        cache_control: keep?,
        cache_control_immutable: keep_immutable,
        immutable: immutable?,
        precompressed: model.precompressed,
    })
}

fn file(at: &Scope<'_>, name: &str) -> Option<String> {
    if FilePath::is_name(name) {
        return Some(name.to_owned());
    }
    at.fault_with(
        format!("`{name}` is not the name of a file in the directory"),
        "write a relative name such as `index.html`, without `..` and hidden folders",
    );
    None
}

/// The values for ordinary files and for those that never change. What is for those who are logged
/// in is for no shared cache.
fn cache_control(
    at: &Scope<'_>,
    model: &model::StaticFiles,
    authenticated: bool,
) -> (Option<HeaderValue>, HeaderValue) {
    let whose = if authenticated { "private, " } else { "" };
    let own = |text: String| HeaderValue::from_str(&text).expect("plain words");
    let ordinary = match &model.cache_control {
        Some(text) => HeaderValue::from_str(text)
            .map_err(|_| {
                let message = "this text cannot stand in a header";
                at.key("cache_control").fault(message);
            })
            .ok(),
        None => Some(own(format!("{whose}no-cache"))),
    };
    let reach = if authenticated { "private" } else { "public" };
    (ordinary, own(format!("{reach}, {IMMUTABLE}")))
}

fn immutable(at: &Scope<'_>, folders: &[String]) -> Option<Vec<String>> {
    at.few(folders.len(), IMMUTABLE_MAX)?;
    at.each(folders, |at, folder: &String| {
        let name = folder.trim_matches('/');
        if !FilePath::is_name(name) {
            at.fault_with(
                format!("`{folder}` is not the name of a folder in the directory"),
                "write a relative name such as `assets`",
            );
            return None;
        }
        Some(format!("{name}/"))
    })
}
