//! One match of a rule as the conditions of a route, in one canonical form.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::config::pattern::PathPattern;
use crate::core::kubernetes::gateway::objects::{RouteMatch, ValueMatch};
use crate::core::kubernetes::gateway::report::Fault;

/// Headers or query parameters of one match.
const VALUES_MAX: usize = 16;
/// One more than the greatest age that is told apart, in seconds.
const AGES: i64 = 1 << 34;

/// The conditions of a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Conditions {
    /// A prefix without its slash at the end, or an exact path.
    pub(super) path: String,
    pub(super) prefix: bool,
    pub(super) method: Option<String>,
    pub(super) headers: BTreeMap<String, String>,
    pub(super) query: BTreeMap<String, String>,
}

impl Conditions {
    pub(super) fn of(one: &RouteMatch) -> Result<Self, Fault> {
        let written = one.path.as_ref();
        let kind = written.and_then(|path| path.kind.as_deref());
        let value = written.and_then(|path| path.value.as_deref());
        let value = value.unwrap_or("/");
        let prefix = match kind.unwrap_or("PathPrefix") {
            "PathPrefix" => true,
            "Exact" => false,
            other => {
                let message = format!("a path of type {other} is not supported");
                return Err(Fault::unsupported(message));
            }
        };
        let path = match prefix {
            true => value.trim_end_matches('/').to_owned(),
            false => value.to_owned(),
        };
        // Braces are parameters in a route.
        if value.contains(['{', '}']) || !value.starts_with('/') {
            return Err(Fault::unsupported(format!("`{value}` is no path")));
        }
        let conditions = Self {
            path,
            prefix,
            method: one.method.clone(),
            headers: values(one.headers.as_deref(), "header", true)?,
            query: values(one.query_params.as_deref(), "query parameter", false)?,
        };
        let pattern = conditions.pattern();
        let pattern = pattern.parse::<PathPattern>();
        let pattern = pattern.map_err(|why| Fault::unsupported(why.to_string()))?;
        // Of the spellings of a path one is compared.
        let canonical = pattern.to_string();
        Ok(match prefix {
            true => Self {
                path: canonical.trim_end_matches("/{*rest}").to_owned(),
                ..conditions
            },
            false => Self {
                path: canonical,
                ..conditions
            },
        })
    }

    /// The path of the route.
    pub(super) fn pattern(&self) -> String {
        match self.prefix {
            true => format!("{}/{{*rest}}", self.path),
            false => self.path.clone(),
        }
    }

    /// Which of the routes with the same path is tried first: one with a method, one with more
    /// headers, one with more query parameters, the older. All are less than 0, so that the file's
    /// own routes come first.
    pub(super) fn precedence(&self, created: u64) -> i64 {
        let many = |map: &BTreeMap<_, _>| map.len().min(VALUES_MAX) as i64;
        let age = AGES - 1 - i64::try_from(created).unwrap_or(AGES).min(AGES - 1);
        let mut rank = i64::from(self.method.is_some());
        rank = rank * 32 + many(&self.headers);
        rank = rank * 32 + many(&self.query);
        rank * AGES + age - 2 * 32 * 32 * AGES
    }

    /// What distinguishes routes of one host.
    pub(super) fn key(&self) -> String {
        let Self {
            method,
            headers,
            query,
            ..
        } = self;
        format!("{} {method:?} {headers:?} {query:?}", self.pattern())
    }

    /// Adds them to a route.
    pub(super) fn write(&self, route: &mut Value) {
        route["path"] = self.pattern().into();
        if let Some(method) = &self.method {
            route["methods"] = json!([method]);
        }
        for (key, values) in [("headers", &self.headers), ("query", &self.query)] {
            if !values.is_empty() {
                route[key] = json!(values);
            }
        }
    }
}

/// Of two of one name the first counts, as documented.
fn values(
    written: Option<&[ValueMatch]>,
    what: &str,
    caseless: bool,
) -> Result<BTreeMap<String, String>, Fault> {
    let written = written.unwrap_or_default();
    if written.len() > VALUES_MAX {
        let message = format!("a match has more than {VALUES_MAX} of {what}");
        return Err(Fault::unsupported(message));
    }
    let mut values = BTreeMap::new();
    for one in written {
        if let Some(kind) = one.kind.as_deref().filter(|kind| *kind != "Exact") {
            let message = format!("a {what} of type {kind} is not supported");
            return Err(Fault::unsupported(message));
        }
        let name = match caseless {
            true => one.name.to_ascii_lowercase(),
            false => one.name.clone(),
        };
        values.entry(name).or_insert_with(|| one.value.clone());
    }
    Ok(values)
}
