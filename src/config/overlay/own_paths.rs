//! Paths at which the gateway itself answers: `mint` of authenticators, `renew` of routes. Each
//! path has one meaning. If two claim a path, the file's keeps it, otherwise the document written
//! first. The other is in force without its path, and reports the owner of the path.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::base::names::AuthenticatorName;
use crate::config::document_key::{DocumentKey, Kind};
use crate::config::overlay::{Overlay, Version};
use crate::config::snapshot::{AuthMethod, Authenticator, Authenticators, Route};

/// Claims that were refused.
#[derive(Clone, Debug, Default)]
pub(super) struct OwnPaths {
    /// By document, with the reason in a sentence.
    pub(super) lost: BTreeMap<DocumentKey, String>,
    /// The authenticators among them, which lose their `mint`.
    authenticators: Vec<AuthenticatorName>,
}

/// Who claims a path: where it stands, and the place of its route.
struct PathClaim<'a> {
    path: &'a str,
    /// `None`: the file.
    document: Option<(i64, DocumentKey)>,
    name: &'a str,
    route: Option<usize>,
}

impl PathClaim<'_> {
    /// What claims the path, and where that is written.
    fn owner(&self) -> String {
        let place = match &self.document {
            Some((_, key)) => format!("document `{key}`"),
            None => "the file".to_owned(),
        };
        match self.route {
            Some(_) => format!("`renew` of route `{}` in {place}", self.name),
            None => format!("`mint` of authenticator `{}` in {place}", self.name),
        }
    }
}

impl OwnPaths {
    /// Takes paths away from routes and authenticators of documents whose path is taken. `accepted`
    /// are the versions of routes that come from documents.
    pub(super) fn settle(
        routes: &mut [Arc<Route>],
        authenticators: &mut Authenticators,
        overlay: &Overlay,
        accepted: &BTreeMap<DocumentKey, Version>,
    ) -> Self {
        let mut settled = Self::default();
        let mut without = Vec::new();
        let mut taken: BTreeMap<&str, PathClaim<'_>> = BTreeMap::new();
        for claim in claims(routes, authenticators, overlay, accepted) {
            let Some(first) = taken.get(claim.path) else {
                taken.insert(claim.path, claim);
                continue;
            };
            // The file alone is checked where it is read.
            let Some((_, key)) = claim.document.clone() else {
                continue;
            };
            let reason = format!(
                "`{}` to be free, which is {}; what else it says is in force",
                claim.path,
                first.owner()
            );
            settled.lost.insert(key, reason);
            match claim.route {
                Some(place) => without.push(place),
                None => settled.authenticators.push(claim.name.into()),
            }
        }
        for place in without {
            let route = &routes[place];
            let mut changed = Route::clone(route);
            changed.auth.renew = None;
            routes[place] = Arc::new(changed);
        }
        settled.apply(authenticators);
        settled
    }

    /// Takes `mint` away from the authenticators that lost it.
    pub(super) fn apply(&self, authenticators: &mut Authenticators) {
        for name in &self.authenticators {
            if let Some(Authenticator {
                method: AuthMethod::SignedUrl(signed),
                ..
            }) = authenticators.get_mut(name)
            {
                signed.mint = None;
            }
        }
    }
}

/// All claims, those that count first in front.
fn claims<'a>(
    routes: &'a [Arc<Route>],
    authenticators: &'a Authenticators,
    overlay: &Overlay,
    accepted: &BTreeMap<DocumentKey, Version>,
) -> Vec<PathClaim<'a>> {
    let mints = authenticators.iter().filter_map(|(name, one)| {
        let key = DocumentKey::named(Kind::Authenticator, name);
        let good = overlay.winner(&key);
        Some(PathClaim {
            path: &one.mint()?.path,
            document: good.map(|good| (good.document.revision, key)),
            name,
            route: None,
        })
    });
    let renewals = routes.iter().enumerate().filter_map(|(place, route)| {
        let key = DocumentKey::named(Kind::Route, &route.name);
        let version = accepted.get(&key);
        Some(PathClaim {
            path: route.auth.renew.as_deref()?,
            document: version.map(|version| (version.document.revision, key)),
            name: &route.name,
            route: Some(place),
        })
    });
    let mut claims: Vec<_> = mints.chain(renewals).collect();
    claims.sort_by(|one, other| one.document.cmp(&other.document));
    claims
}
