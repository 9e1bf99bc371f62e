//! What a document does to what the file guards: it may be locked out by `protect`, and it may
//! weaken a guarded route. Both are decided from the file and one version of a document alone, so
//! that all gateways agree.

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use crate::base::names::RouteName;
use crate::base::source_id::SourceId;
use crate::config::diagnostic::{Diagnostic, Severity, Source};
use crate::config::document_key::{DocumentKey, Kind};
use crate::config::documents::Item;
use crate::config::overlay::version::Version;
use crate::config::pattern::Segment;
use crate::config::snapshot::{Action, Route, Snapshot, Upstream};
use crate::config::span::KeyPath;

mod compare;
mod reach;

use compare::{asks_less, is_guarded, may_take};
use reach::{Reach, answers_at, reaches};

/// Guarded routes that one document is compared with. Beyond it, the document counts as one that
/// weakens what it was not compared with.
const COMPARED_MAX: usize = 10_000;
/// Findings that are shown of one document.
const SHOWN_MAX: usize = 5;

/// What the file protects and guards, for checks of documents.
pub struct FileProtection<'f> {
    file: &'f Snapshot,
    guarded: OnceCell<Guarded<'f>>,
    /// Authenticators and upstreams of protected routes, each with one such route.
    kept: OnceCell<BTreeMap<(Kind, &'f str), &'f RouteName>>,
    /// The gateway's own paths, each with the setting that declares it.
    answered: OnceCell<HashMap<&'f str, DocumentKey>>,
}

/// The file's guarded routes, by the first segment of their paths.
struct Guarded<'f> {
    by_name: HashMap<&'f str, &'f Arc<Route>>,
    by_first: HashMap<&'f str, Vec<&'f Arc<Route>>>,
    /// The first segment is a parameter, or there is only a rest.
    wide: Vec<&'f Arc<Route>>,
    by_target: HashMap<&'f str, Vec<&'f Arc<Route>>>,
    authenticators: HashMap<&'f str, &'f RouteName>,
}

/// What was found about one version of a document.
#[derive(Clone, Debug, Default)]
pub(super) struct Verdict {
    /// Why it takes no effect.
    locked: Vec<String>,
    /// What it weakens.
    weakens: Vec<String>,
}

impl Verdict {
    /// Whether it takes no effect.
    pub(super) fn is_locked(&self) -> bool {
        !self.locked.is_empty()
    }

    /// As operators see it.
    pub(super) fn diagnostics(&self, key: &DocumentKey) -> Vec<Diagnostic> {
        let found = |severity, message: &String, help: Option<&str>| Diagnostic {
            severity,
            source: Source::Document(key.to_string()),
            location: None,
            key: KeyPath::default(),
            message: message.clone(),
            help: help.map(str::to_owned),
        };
        let locked = self.locked.iter().map(|message| {
            let help = "`protect` in [sources] of the file forbids it";
            found(Severity::Error, message, Some(help))
        });
        let weakens = self.weakens.iter().map(|message| {
            let help = "`protect` in [sources] of the file would forbid it";
            found(Severity::Warning, message, Some(help))
        });
        // What takes no effect weakens nothing.
        match self.is_locked() {
            true => locked.collect(),
            false => weakens.collect(),
        }
    }

    fn add(&mut self, locked: bool, message: String) {
        let list = if locked {
            &mut self.locked
        } else {
            &mut self.weakens
        };
        if list.len() < SHOWN_MAX {
            list.push(message);
        }
    }
}

impl<'f> FileProtection<'f> {
    /// By this file.
    pub const fn new(file: &'f Snapshot) -> Self {
        Self {
            file,
            guarded: OnceCell::new(),
            kept: OnceCell::new(),
            answered: OnceCell::new(),
        }
    }

    /// What a version does to the file.
    pub(super) fn evaluate(&self, version: &Version) -> Verdict {
        let mut verdict = Verdict::default();
        if self.is_found(version) {
            return verdict;
        }
        let key = &version.document.key;
        let (name, file) = (&*key.name, self.file);
        let overrides = overrides(file, key);
        if overrides && self.covers(key) {
            verdict.add(true, format!("the file protects `{key}`"));
        }
        match &version.item {
            Item::Route(route) => {
                self.route(route, &mut verdict);
                self.behind(route, &mut verdict);
                self.endpoint(route.auth.renew.as_deref(), key, &mut verdict);
            }
            Item::Authenticator(one) => {
                let mint = one.mint().map(|mint| mint.path.as_str());
                self.endpoint(mint, key, &mut verdict);
                let known = file.authenticators.get(name);
                if known.is_some_and(|known| known != one) {
                    let asking = self.guarded().authenticators.get(name);
                    let asking = asking.map_or_else(String::new, |route| {
                        format!(", which route `{route}` asks for")
                    });
                    let message =
                        format!("it takes the place of the file's authenticator `{name}`{asking}");
                    self.found(Kind::Authenticator, name, message, &mut verdict);
                }
            }
            Item::Upstream(one) => {
                if let Some(known) = file.upstreams.get(name).filter(|known| *known != one) {
                    let kept = self.keeper(Kind::Upstream, name).is_some();
                    let changed = || format!("it takes the place of the file's upstream `{name}`");
                    let message = self.upstream(known, one);
                    if let Some(message) = message.or_else(|| kept.then(changed)) {
                        self.found(Kind::Upstream, name, message, &mut verdict);
                    }
                }
            }
            Item::Backend(backend) => {
                let known = file.upstreams.get(name).and_then(|upstream| {
                    let mut backends = upstream.backends.iter();
                    backends.find(|known| known.id == backend.id)
                });
                if known.is_some_and(|known| known.address != backend.address) {
                    let address = &known.expect("it is known").address;
                    let message = format!("the file has this backend at {address}");
                    self.found(Kind::Upstream, name, message, &mut verdict);
                }
            }
            Item::Revocation(one) => {
                let known = file.revocations.get(name);
                if known.is_some_and(|known| known != one) {
                    let message = format!("it takes the place of the file's revocation `{name}`");
                    verdict.add(false, message);
                }
            }
        }
        verdict
    }

    /// Whether this is a backend that was found because its upstream names it: who may give the
    /// upstream a name is decided there. Consul's keys are no backends of such an upstream.
    fn is_found(&self, version: &Version) -> bool {
        let name = &*version.document.key.name;
        match (version.source, &version.item) {
            (SourceId::Dns | SourceId::Kubernetes, Item::Backend(_)) => true,
            (SourceId::Consul, Item::Backend(_)) => {
                let upstream = self.file.upstreams.get(name);
                upstream.is_some_and(|upstream| upstream.consul.is_some())
            }
            _ => false,
        }
    }

    /// Whether `protect` has this key.
    fn covers(&self, key: &DocumentKey) -> bool {
        let mut protect = self.file.sources.protect.iter();
        protect.any(|one| one.covers(key))
    }

    fn protects(&self, route: &RouteName) -> bool {
        self.covers(&DocumentKey::named(Kind::Route, route))
    }

    /// A protected route keeps its authenticators and its upstream, with the file's backends of it.
    fn found(&self, kind: Kind, name: &str, message: String, verdict: &mut Verdict) {
        if verdict.is_locked() {
            return;
        }
        match self.keeper(kind, name) {
            Some(route) => {
                let message = format!("{message}, and the file protects route `{route}`");
                verdict.add(true, message);
            }
            None => verdict.add(false, message),
        }
    }

    /// A protected route that this belongs to.
    fn keeper(&self, kind: Kind, name: &str) -> Option<&'f RouteName> {
        let kept = self.kept.get_or_init(|| self.kept());
        kept.get(&(kind, name)).copied()
    }

    fn kept(&self) -> BTreeMap<(Kind, &'f str), &'f RouteName> {
        let routes = self.file.routes.iter();
        let routes = routes.filter(|route| self.protects(&route.name));
        let mut kept = BTreeMap::new();
        let mut asked: Vec<(&'f str, &'f RouteName)> = Vec::new();
        for route in routes {
            if let Action::Forward(name) = &route.action {
                kept.insert((Kind::Upstream, name.as_str()), &route.name);
            }
            let names = route.auth.authenticate.iter();
            asked.extend(names.map(|name| (name.as_str(), &route.name)));
        }
        // Those who may have tickets are admitted with them.
        while let Some((name, route)) = asked.pop() {
            if kept.insert((Kind::Authenticator, name), route).is_none() {
                let mint = self
                    .file
                    .authenticators
                    .get(name)
                    .and_then(|one| one.mint());
                let names = mint.into_iter().flat_map(|mint| &mint.authenticate);
                asked.extend(names.map(|name| (name.as_str(), route)));
            }
        }
        kept
    }

    fn upstream(&self, known: &Upstream, new: &Upstream) -> Option<String> {
        let name = &known.name;
        if known.tls.is_some() && known.tls != new.tls {
            let how = if new.tls.is_some() {
                "with other TLS than"
            } else {
                "without the TLS of"
            };
            return Some(format!("it sends to upstream `{name}` {how} the file"));
        }
        let moved = known.backends.iter().any(|backend| {
            let mut backends = new.backends.iter();
            !backends.any(|one| one.id == backend.id && one.address == backend.address)
        });
        let strange = new.backends.iter().any(|backend| {
            let mut backends = known.backends.iter();
            !backends.any(|one| one.address == backend.address)
        });
        let strange = strange
            || known.dns != new.dns
            || known.consul != new.consul
            || known.kubernetes != new.kubernetes;
        let route = self.guarded().by_target.get(name.as_str())?.first()?;
        let route = &route.name;
        (moved || strange).then(|| {
            format!(
                "it has other backends than the file's upstream `{name}`, to which guarded route \
                 `{route}` leads"
            )
        })
    }

    fn route(&self, route: &Route, verdict: &mut Verdict) {
        let guarded = self.guarded();
        if let Some(known) = guarded.by_name.get(route.name.as_str()) {
            if !matches_the_same(known, route) {
                let name = &route.name;
                let message = format!(
                    "it takes the place of the file's guarded route `{name}` and matches other \
                     requests; those of the file's route then take other routes"
                );
                verdict.add(false, message);
            }
            for what in asks_less(route, known) {
                verdict.add(
                    false,
                    format!("{what}, other than the file's route of this name"),
                );
            }
        }
        let mut left = COMPARED_MAX;
        for known in guarded.candidates(route) {
            if left == 0 {
                let protects = !self.file.sources.protect.is_empty();
                let message = "the file has too many guarded routes to compare it with all";
                verdict.add(protects, message.to_owned());
                break;
            }
            left -= 1;
            if known.name == route.name || !may_take(route, known) {
                continue;
            }
            if let Some(what) = asks_less(route, known).first() {
                let name = &known.name;
                let message = format!("it takes requests of the file's route `{name}`, and {what}");
                verdict.add(self.protects(name), message);
            }
        }
    }

    /// What a route leads to without taking requests of a guarded one.
    fn behind(&self, route: &Route, verdict: &mut Verdict) {
        let Some(target) = target(&route.action) else {
            return;
        };
        let known = self.guarded().by_target.get(target);
        let known = known.into_iter().flatten().take(COMPARED_MAX);
        for known in known.filter(|known| known.name != route.name) {
            let Some(reach) = reaches(route, known) else {
                continue;
            };
            if let Some(what) = asks_less(route, known).first() {
                let how = reach.as_str();
                let name = &known.name;
                let message = format!("{how} what the file's route `{name}` leads to, and {what}");
                let locked = reach != Reach::Host && self.protects(name);
                verdict.add(locked, message);
            }
        }
    }

    /// A path at which the gateway itself would answer.
    fn endpoint(&self, path: Option<&str>, key: &DocumentKey, verdict: &mut Verdict) {
        let Some(path) = path else { return };
        if let Some(other) = self.answered().get(path).filter(|other| *other != key) {
            let message = format!("it answers at `{path}`, where `{other}` of the file does");
            verdict.add(self.covers(other), message);
        }
        let known = self.guarded().at(path).take(COMPARED_MAX);
        for known in known.filter(|known| answers_at(path, known)) {
            let name = &known.name;
            let message = format!("it answers at `{path}`, a path of the file's route `{name}`");
            verdict.add(self.protects(name), message);
        }
    }

    /// Where the gateway itself answers by the file.
    fn answered(&self) -> &HashMap<&'f str, DocumentKey> {
        self.answered.get_or_init(|| {
            let routes = self.file.routes.iter().filter_map(|route| {
                let path = route.auth.renew.as_deref()?;
                Some((path, DocumentKey::named(Kind::Route, &route.name)))
            });
            let authenticators = self.file.authenticators.values().filter_map(|one| {
                let path = one.mint()?.path.as_str();
                Some((path, DocumentKey::named(Kind::Authenticator, &one.name)))
            });
            routes.chain(authenticators).collect()
        })
    }

    fn guarded(&self) -> &Guarded<'f> {
        self.guarded.get_or_init(|| Guarded::of(self.file))
    }
}

impl<'f> Guarded<'f> {
    fn of(file: &'f Snapshot) -> Self {
        let mut guarded = Self {
            by_name: HashMap::new(),
            by_first: HashMap::new(),
            wide: Vec::new(),
            by_target: HashMap::new(),
            authenticators: HashMap::new(),
        };
        for route in file.routes.iter().filter(|route| is_guarded(route)) {
            guarded.by_name.insert(route.name.as_str(), route);
            match route.path.segments().first() {
                Some(Segment::Exact(text)) => {
                    guarded.by_first.entry(text).or_default().push(route);
                }
                _ => guarded.wide.push(route),
            }
            if let Some(target) = target(&route.action) {
                guarded.by_target.entry(target).or_default().push(route);
            }
            for name in &route.auth.authenticate {
                guarded.authenticators.insert(name, &route.name);
            }
        }
        guarded
    }

    /// Routes that may have requests in common with this one.
    fn candidates<'g>(&'g self, route: &Route) -> Box<dyn Iterator<Item = &'f Arc<Route>> + 'g> {
        match route.path.segments().first() {
            Some(Segment::Exact(text)) => Box::new(self.beginning(text)),
            _ => {
                let all = self.by_first.values().flatten().chain(&self.wide);
                Box::new(all.copied())
            }
        }
    }

    /// Routes that may match this path.
    fn at<'g>(&'g self, path: &str) -> impl Iterator<Item = &'f Arc<Route>> + 'g {
        self.beginning(path.split('/').nth(1).unwrap_or_default())
    }

    fn beginning<'g>(&'g self, first: &str) -> impl Iterator<Item = &'f Arc<Route>> + 'g {
        let same = self.by_first.get(first);
        same.into_iter().flatten().chain(&self.wide).copied()
    }
}

/// The upstream that a route leads to, or what stands for one where it has a function.
fn target(action: &Action) -> Option<&str> {
    match action {
        Action::Forward(name) => Some(name),
        Action::Function(_, upstream) => Some(&upstream.name),
        Action::Redirect(_) | Action::Static(..) => None,
    }
}

/// Whether the file has an entry for this key. All members of the file's upstreams belong to the
/// file.
pub(super) fn overrides(file: &Snapshot, key: &DocumentKey) -> bool {
    let name = &*key.name;
    match key.kind {
        Kind::Route => file.routes.iter().any(|route| route.name.as_str() == name),
        Kind::Upstream | Kind::Backend => file.upstreams.contains_key(name),
        Kind::Authenticator => file.authenticators.contains_key(name),
        Kind::Revocation => file.revocations.contains_key(name),
    }
}

fn matches_the_same(one: &Route, other: &Route) -> bool {
    fn set<T: Ord>(items: &[T]) -> BTreeSet<&T> {
        items.iter().collect()
    }
    set(&one.hosts) == set(&other.hosts)
        && one.path == other.path
        && one.scheme == other.scheme
        && one.methods == other.methods
        && one.headers == other.headers
        && one.query == other.query
        && one.subprotocols == other.subprotocols
}
