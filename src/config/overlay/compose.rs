//! File and documents together. What did not change since the last time is taken over as it is.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::base::names::{AuthenticatorName, RouteName, UpstreamName};
use crate::base::source_id::SourceId;
use crate::config::document_key::{DocumentKey, Kind};
use crate::config::documents::Item;
use crate::config::footprint;
use crate::config::overlay::own_paths::OwnPaths;
use crate::config::overlay::version::Version;
use crate::config::overlay::{Entry, FileProtection, Overlay};
use crate::config::snapshot::{
    Action, Authenticators, Backend, Revocations, Route, Snapshot, Upstream,
};

mod chosen;

use chosen::{Known, Taken, Wait};

/// Puts configurations together, and remembers what came of it.
#[derive(Clone, Debug, Default)]
pub struct Composer {
    /// Upstreams with the backends of documents, and what they were made of.
    built: BTreeMap<UpstreamName, Built>,
    /// The routes in force, computed on demand.
    routes: Option<Vec<Arc<Route>>>,
    /// The versions of routes of documents among them.
    pub(super) accepted: BTreeMap<DocumentKey, Version>,
    /// Why the newest good version of a document is not in force.
    pub(super) waits: BTreeMap<DocumentKey, Wait>,
    /// The revocations in force, computed on demand.
    revocations: Option<Arc<Revocations>>,
    /// The file's routes that wait, with what they wait for.
    file_waits: Vec<(RouteName, String)>,
    /// Paths at which the gateway itself answers that two claim.
    own_paths: OwnPaths,
    /// Upstreams that lack backends, since there is no memory for their tables.
    pub(super) crowded: BTreeMap<UpstreamName, Lacks>,
}

/// Which backends an upstream lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lacks {
    /// All.
    All,
    /// Those of documents of their own.
    Added,
}

#[derive(Clone, Debug)]
struct Built {
    base: Arc<Upstream>,
    upstream: Arc<Upstream>,
}

/// The configuration of file and documents together.
#[derive(Clone, Debug)]
pub struct Composed {
    /// Every name in it resolves.
    pub snapshot: Snapshot,
    /// Names in the file that do not resolve, in a sentence each.
    pub waiting: Vec<String>,
}

impl Composer {
    /// Composes `base`, the file, and `overlay`. `touched` are the documents that changed since the
    /// last composition; `None` if unknown. Removes deleted documents that are no longer needed.
    pub fn compose(
        &mut self,
        base: &Snapshot,
        overlay: &mut Overlay,
        touched: Option<&[DocumentKey]>,
    ) -> Composed {
        match touched {
            None => self.built.clear(),
            Some(touched) => touched.iter().for_each(|key| {
                self.built.remove(&*key.name);
            }),
        }
        // Neither contains routes.
        let only = |kinds: &[Kind]| {
            touched.is_some_and(|touched| touched.iter().all(|key| kinds.contains(&key.kind)))
        };
        let routes_stay = only(&[Kind::Backend, Kind::Revocation]);
        let spared =
            touched.is_some_and(|touched| touched.iter().all(|key| key.kind != Kind::Revocation));
        let mut authenticators = base.authenticators.clone();
        for version in overlay.good(Kind::Authenticator) {
            if let Item::Authenticator(one) = &version.item {
                authenticators.insert(one.name.clone(), one.clone());
            }
        }
        let routes = match self.routes.take().filter(|_| routes_stay) {
            Some(routes) => {
                self.own_paths.apply(&mut authenticators);
                routes
            }
            None => {
                let mut routes = self.routes(base, overlay, &authenticators);
                self.forget(base, overlay, &routes, &mut authenticators);
                let (all, from) = (&mut routes, &self.accepted);
                self.own_paths = OwnPaths::settle(all, &mut authenticators, overlay, from);
                routes
            }
        };
        self.routes = Some(routes.clone());
        let revocations = self.revocations.take().filter(|_| spared);
        let revocations = revocations.unwrap_or_else(|| revoked(base, overlay));
        self.revocations = Some(Arc::clone(&revocations));
        let upstreams = self.upstreams(base, overlay);
        let waiting = self.file_waits.iter();
        let waiting = waiting.map(|(route, what)| format!("route `{route}` waits for {what}"));
        Composed {
            waiting: waiting.collect(),
            snapshot: Snapshot {
                authenticators,
                revocations,
                upstreams,
                routes,
                ..base.clone()
            },
        }
    }

    /// The routes in force: of two that exclude each other the file's, else the one that was there
    /// first. A newcomer that cannot be taken leaves its last accepted version in force.
    fn routes(
        &mut self,
        base: &Snapshot,
        overlay: &Overlay,
        authenticators: &Authenticators,
    ) -> Vec<Arc<Route>> {
        let file = base.upstreams.keys().map(|name| name.as_str());
        let more = overlay.good(Kind::Upstream);
        let known = Known {
            upstreams: file
                .chain(more.map(|one| &*one.document.key.name))
                .collect(),
            authenticators,
        };
        let documents: Vec<_> = overlay.good(Kind::Route).collect();
        let overridden: BTreeSet<_> = documents
            .iter()
            .map(|one| &*one.document.key.name)
            .collect();
        self.file_waits.clear();
        let mut chosen: Vec<Arc<Route>> = Vec::new();
        for route in &base.routes {
            match known.missing(route) {
                _ if overridden.contains(route.name.as_str()) => {}
                None => chosen.push(Arc::clone(route)),
                Some(what) => self.file_waits.push((route.name.clone(), what)),
            }
        }
        let protection = FileProtection::new(base);
        let accepted = self.accept((&known, &protection), &documents, &mut chosen);
        self.accepted = accepted;
        chosen
    }

    /// Adds the routes of documents to those chosen already; answers which versions those are.
    fn accept(
        &mut self,
        (known, protection): (&Known<'_>, &FileProtection<'_>),
        documents: &[&Version],
        chosen: &mut Vec<Arc<Route>>,
    ) -> BTreeMap<DocumentKey, Version> {
        // The higher source first, since revisions of two sources cannot be compared. Within one
        // source in order of writing, not of arrival: a gateway that restarts must reach the same
        // result.
        let mut order: Vec<_> = documents.to_vec();
        order.sort_by_cached_key(|one| {
            let document = &one.document;
            (Reverse(one.source), document.revision, document.key.clone())
        });
        let fallback: BTreeMap<_, _> = self.accepted.iter().collect();
        let file = chosen.clone();
        let mut taken = Taken::default();
        file.iter().for_each(|route| taken.add(route));
        let mut accepted = BTreeMap::new();
        let mut waits = BTreeMap::new();
        for version in order {
            let key = &version.document.key;
            let wait = match taken.take(known, version) {
                Ok(()) => {
                    accepted.insert(key.clone(), version.clone());
                    continue;
                }
                Err(wait) => wait,
            };
            waits.insert(key.clone(), wait);
            let before = fallback.get(key).filter(|_| !self.stays(version));
            // The file may have come to protect something since.
            let before = before.filter(|before| !protection.evaluate(before).is_locked());
            if let Some(before) = before
                && taken.take(known, before).is_ok()
            {
                accepted.insert(key.clone(), (*before).clone());
            }
        }
        *chosen = taken.routes.into_iter().map(Arc::clone).collect();
        self.waits = waits;
        accepted
    }

    /// Whether this version is in force already.
    fn stays(&self, version: &Version) -> bool {
        let before = self.accepted.get(&version.document.key);
        before.is_some_and(|before| before.document.text == version.document.text)
    }

    /// Drops deleted documents that nothing needs, or that the file has an equal for.
    fn forget(
        &mut self,
        base: &Snapshot,
        overlay: &mut Overlay,
        routes: &[Arc<Route>],
        authenticators: &mut Authenticators,
    ) {
        let gone = overlay.entries.iter().filter(|(_, entry)| entry.gone);
        let gone: Vec<_> = gone.map(|(slot, _)| slot.clone()).collect();
        if gone.is_empty() {
            return;
        }
        let upstreams: BTreeSet<_> = routes
            .iter()
            .filter_map(|route| match &route.action {
                Action::Forward(upstream) => Some(upstream.as_str()),
                Action::Redirect(_) | Action::Static(..) | Action::Function(..) => None,
            })
            .collect();
        let asked = routes.iter().flat_map(|route| &route.auth.authenticate);
        let asked: BTreeSet<_> = asked.map(|name| name.as_str()).collect();
        for slot in gone {
            let key = &slot.0;
            let name = &*key.name;
            let (in_file, named) = if key.kind == Kind::Upstream {
                (base.upstreams.contains_key(name), upstreams.contains(name))
            } else {
                (base.authenticators.contains_key(name), asked.contains(name))
            };
            let exists = |(_, entry): (_, &Entry)| !entry.gone && entry.good.is_some();
            if named && !in_file && !overlay.layers(key).any(exists) {
                continue;
            }
            overlay.entries.remove(&slot);
            if key.kind == Kind::Authenticator {
                let item = overlay.winner(key).map(|version| &version.item);
                let name = AuthenticatorName::from(name);
                match (item, base.authenticators.get(&name)) {
                    (Some(Item::Authenticator(one)), _) | (None, Some(one)) => {
                        authenticators.insert(name, one.clone())
                    }
                    _ => authenticators.remove(&name),
                };
            } else {
                self.built.remove(name);
            }
        }
    }

    fn upstreams(
        &mut self,
        base: &Snapshot,
        overlay: &Overlay,
    ) -> BTreeMap<UpstreamName, Arc<Upstream>> {
        let mut upstreams = base.upstreams.clone();
        for version in overlay.good(Kind::Upstream) {
            if let Item::Upstream(one) = &version.item {
                upstreams.insert(one.name.clone(), Arc::clone(one));
            }
        }
        for (name, upstream) in &mut upstreams {
            match self.built.get(name) {
                Some(built) if Arc::ptr_eq(&built.base, upstream) => {
                    *upstream = Arc::clone(&built.upstream);
                }
                _ if overlay.has_backends(name) => {
                    let built = Built {
                        base: Arc::clone(upstream),
                        upstream: Arc::new(with_backends(upstream, overlay)),
                    };
                    *upstream = Arc::clone(&built.upstream);
                    self.built.insert(name.clone(), built);
                }
                _ => {}
            }
        }
        self.crowd_out(&mut upstreams, overlay);
        upstreams
    }

    /// Removes backends of upstreams whose tables would exceed the memory limit. Upstreams of the
    /// file have precedence, then those written first, all without what documents of backends add.
    /// The additions come last, the smallest first, so that large ones take nothing from others.
    fn crowd_out(
        &mut self,
        upstreams: &mut BTreeMap<UpstreamName, Arc<Upstream>>,
        overlay: &Overlay,
    ) {
        self.crowded.clear();
        if footprint::tables_bytes(upstreams.values()) <= footprint::TABLE_BYTES_MAX {
            return;
        }
        let written = |name: &UpstreamName| {
            let version = overlay.winner(&DocumentKey::named(Kind::Upstream, name))?;
            Some((Reverse(version.source), version.document.revision))
        };
        let all = upstreams.iter_mut();
        let mut all: Vec<_> = all.map(|(name, one)| (written(name), name, one)).collect();
        all.sort_by_key(|(written, ..)| *written);
        let mut left = footprint::TABLE_BYTES_MAX;
        let mut added = Vec::new();
        for (_, name, upstream) in all {
            let own = self.built.get(name).map(|built| Arc::clone(&built.base));
            let bytes = footprint::table_bytes(own.as_ref().unwrap_or(upstream));
            let Some(rest) = left.checked_sub(bytes) else {
                self.crowded.insert(name.clone(), Lacks::All);
                *upstream = Arc::new(Upstream {
                    backends: Vec::new(),
                    ..Upstream::clone(upstream)
                });
                continue;
            };
            left = rest;
            if let Some(own) = own {
                let more = footprint::table_bytes(upstream).saturating_sub(bytes);
                added.push((more, name, upstream, own));
            }
        }
        // Stable: of equals, the one that was written first.
        added.sort_by_key(|(more, ..)| *more);
        for (more, name, upstream, own) in added {
            match left.checked_sub(more) {
                Some(rest) => left = rest,
                None => {
                    self.crowded.insert(name.clone(), Lacks::Added);
                    *upstream = own;
                }
            }
        }
    }

    /// Routes of documents that wait, with what each waits for.
    pub fn waiting_routes(&self) -> BTreeMap<DocumentKey, String> {
        let waits = self.waits.iter();
        waits
            .map(|(key, wait)| (key.clone(), wait.to_string()))
            .collect()
    }

    /// Documents in force whose `mint` or `renew` path something else has, with the reason.
    pub fn lost_paths(&self) -> &BTreeMap<DocumentKey, String> {
        &self.own_paths.lost
    }

    /// Good documents of a source that are not, or not fully, in force: they refer to something
    /// missing, or are indistinguishable from another route.
    pub fn waiting(&self, overlay: &Overlay, snapshot: &Snapshot, source: SourceId) -> usize {
        // Backends of one upstream are adjacent, so the upstream is looked up once for all of them.
        let (mut orphans, mut last) = (0, None);
        let from = (DocumentKey::backend("", ""), SourceId::ALL[0]);
        for ((key, of), entry) in overlay.entries.range(from..) {
            if key.kind != Kind::Backend {
                break;
            }
            if *of != source {
                continue;
            }
            let known = match last {
                Some((name, known)) if name == &*key.name => known,
                _ => snapshot.upstreams.contains_key(&*key.name),
            };
            last = Some((&*key.name, known));
            orphans += usize::from(!known && entry.good.is_some());
        }
        let is_winner = |key: &DocumentKey| {
            let version = overlay.winner(key);
            version.is_some_and(|version| version.source == source)
        };
        let lost = self.own_paths.lost.keys();
        let lost = lost.filter(|key| !self.waits.contains_key(key) && is_winner(key));
        let routes = self.waits.keys().filter(|key| is_winner(key));
        routes.count() + lost.count() + orphans
    }
}

/// The file's revocations, and those of documents; by name, these override the file's.
fn revoked(base: &Snapshot, overlay: &Overlay) -> Arc<Revocations> {
    let mut documents = overlay.good(Kind::Revocation).peekable();
    if documents.peek().is_none() {
        return Arc::clone(&base.revocations);
    }
    let mut all = Revocations::clone(&base.revocations);
    for version in documents {
        if let Item::Revocation(one) = &version.item {
            all.insert(Arc::clone(&one.id), Arc::clone(one));
        }
    }
    Arc::new(all)
}

/// An upstream with backends of documents; they override its own by id.
fn with_backends(upstream: &Upstream, overlay: &Overlay) -> Upstream {
    let own = upstream.backends.iter();
    let mut backends: BTreeMap<_, Backend> = own
        .map(|backend| (backend.id.clone(), backend.clone()))
        .collect();
    for version in overlay.backends(&upstream.name) {
        if let Item::Backend(backend) = &version.item {
            backends.insert(backend.id.clone(), backend.clone());
        }
    }
    Upstream {
        backends: backends.into_values().collect(),
        ..upstream.clone()
    }
}
