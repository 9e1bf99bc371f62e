//! The choice among routes of documents: what a route refers to must exist, and no two chosen
//! routes may be indistinguishable.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use crate::base::names::RouteName;
use crate::config::conflict::Distinct;
use crate::config::documents::Item;
use crate::config::overlay::version::Version;
use crate::config::snapshot::{Action, Authenticators, Route};

/// Names that routes may refer to.
pub(super) struct Known<'a> {
    pub(super) upstreams: BTreeSet<&'a str>,
    pub(super) authenticators: &'a Authenticators,
}

impl Known<'_> {
    /// The first thing that a route names and that is not there.
    pub(super) fn missing(&self, route: &Route) -> Option<String> {
        if let Action::Forward(name) = &route.action
            && !self.upstreams.contains(name.as_str())
        {
            return Some(format!("upstream `{name}`"));
        }
        let mut asked = route.auth.authenticate.iter();
        let missing = asked.find(|name| !self.authenticators.contains_key(*name))?;
        Some(format!("authenticator `{missing}`"))
    }
}

#[derive(Clone, Debug)]
pub(in crate::config::overlay) enum Wait {
    /// For something that is not there.
    Missing(String),
    /// It is indistinguishable from another route.
    Conflict(RouteName),
}

impl fmt::Display for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(what) => f.write_str(what),
            Self::Conflict(other) => {
                write!(
                    f,
                    "the removal of route `{other}`, which matches the same requests"
                )
            }
        }
    }
}

/// Routes that were chosen, to compare newcomers with.
#[derive(Default)]
pub(super) struct Taken<'r> {
    pub(super) routes: Vec<&'r Arc<Route>>,
    distinct: Distinct<'r>,
}

impl<'r> Taken<'r> {
    pub(super) fn add(&mut self, route: &'r Arc<Route>) {
        self.distinct.insert(route, self.routes.len());
        self.routes.push(route);
    }

    /// Accepts a version, unless it refers to something missing or is indistinguishable from an
    /// accepted one.
    pub(super) fn take(&mut self, known: &Known<'_>, version: &'r Version) -> Result<(), Wait> {
        let Item::Route(route) = &version.item else {
            unreachable!("a document of a route holds one");
        };
        if let Some(what) = known.missing(route) {
            return Err(Wait::Missing(what));
        }
        if let Some(other) = self.distinct.clash(route) {
            return Err(Wait::Conflict(self.routes[other].name.clone()));
        }
        self.add(route);
        Ok(())
    }
}
