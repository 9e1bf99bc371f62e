//! Sources of affinity keys, and of the names of groups.

use crate::config::diagnostic::suggestion;
use crate::config::expression::ClaimPath;
use crate::config::model::{self, IssueCookie, TextOr};
use crate::config::pattern::PathPattern;
use crate::config::snapshot::AffinitySource;
use crate::config::validate::edits;
use crate::config::validate::scope::Scope;
use crate::config::validate::syntax::is_token;

const SOURCES: [&str; 6] = [
    "claim",
    "path",
    "query",
    "cookie",
    "header",
    "client_address",
];

pub(super) fn affinity(
    at: &Scope<'_>,
    route: &model::Route,
    path: Option<&PathPattern>,
) -> Option<Vec<AffinitySource>> {
    let models: &[TextOr<IssueCookie>] = &route.affinity;
    let last = models.len().saturating_sub(1);
    let mut place = 0..;
    at.each(models, |at, model| {
        let is_last = place.next() == Some(last);
        match model {
            TextOr::Text(text) => {
                let source = affinity_source(at, text, path)?;
                if matches!(source, AffinitySource::Claim(_)) && route.authenticate.is_empty() {
                    at.warn("the route authenticates no client, so this source is never present");
                }
                if source == AffinitySource::ClientAddress && !is_last {
                    at.warn(
                        "every client has an address, so the sources after this one are never used",
                    );
                }
                Some(source)
            }
            TextOr::Table(table) => {
                let name = at.required(
                    "issue_cookie",
                    &table.issue_cookie,
                    "issue_cookie = \"sid\"",
                )?;
                if !is_last {
                    at.fault("an issued cookie is always there, so it must be the last source");
                }
                cookie_name(at, name).map(AffinitySource::IssueCookie)
            }
        }
    })
}

pub(super) fn affinity_source(
    at: &Scope<'_>,
    text: &str,
    path: Option<&PathPattern>,
) -> Option<AffinitySource> {
    if text == "client_address" {
        return Some(AffinitySource::ClientAddress);
    }
    let (kind, name) = text.split_once(':').unwrap_or((text, ""));
    if !SOURCES[..5].contains(&kind) {
        at.fault_maybe(
            format!("unknown source `{kind}`"),
            suggestion(kind, SOURCES),
        );
        return None;
    }
    if name.is_empty() {
        at.fault_with(
            format!("`{text}` names nothing"),
            format!("write `{kind}:NAME`"),
        );
        return None;
    }
    match kind {
        "claim" => at.parse::<ClaimPath>(text).map(AffinitySource::Claim),
        "path" => {
            if let Some(path) = path {
                edits::knows_parameter(at, path, name)?;
            }
            Some(AffinitySource::Path(name.to_owned()))
        }
        "query" => Some(AffinitySource::Query(name.to_owned())),
        "cookie" => cookie_name(at, name).map(AffinitySource::Cookie),
        _ => edits::header_name(at, name).map(AffinitySource::Header),
    }
}

fn cookie_name(at: &Scope<'_>, name: &str) -> Option<String> {
    if !is_token(name) {
        at.fault(format!("`{name}` is not a cookie's name"));
        return None;
    }
    Some(name.to_owned())
}
