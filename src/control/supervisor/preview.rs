//! What a candidate would change if it were put into force: read and checked like any other
//! configuration, compiled on trial, compared, and thrown away.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::OwnedSemaphorePermit;

use crate::base::clock;
use crate::base::names::RouteName;
use crate::base::source_id::SourceId;
use crate::config::diagnostic::{Diagnostic, Source};
use crate::config::documents::{Change, Update};
use crate::config::footprint;
use crate::config::overlay::{Composer, Judge, Overlay};
use crate::config::snapshot::{OnRemoval, Snapshot};
use crate::control::drainer::Place;
use crate::control::load::{LoadOptions, Loaded, Reach, TrialFault, load_trial, on_ground};
use crate::control::supervisor::report::{changes, route_changes};
use crate::control::supervisor::restart::restart_needs;
use crate::control::supervisor::{Changes, Configuration, Supervisor};
use crate::control::worker_commands;
use crate::core::routing::RoutingTable;
use crate::core::routing::preview::{self, Leaving, Movement, Sessions, Why};
use crate::live::{SessionBrief, SessionQuery};

/// What might be put into force.
#[derive(Clone, Debug, Default)]
pub struct Candidate {
    /// What to call the text where something is wrong with it.
    pub name: String,
    /// In place of the configuration file; `None`: the file as it is.
    pub text: Option<String>,
    /// Documents that might be written or deleted.
    pub documents: Vec<Change>,
}

/// How many values a text has, about.
fn values(text: &str) -> usize {
    text.bytes().filter(|byte| b"=,:[{".contains(byte)).count()
}

/// Values in a candidate, each of which takes some hundred bytes while it is read.
const VALUES_MAX: usize = 400_000;

/// The right to make the one preview that is made at a time.
#[derive(Debug)]
pub struct Turn(#[expect(dead_code, reason = "held, not read")] OwnedSemaphorePermit);

/// Why there is no preview.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PreviewFault {
    /// The candidate names a file or a variable, and who asks may not make the gateway look at one.
    NamesOutside,
    /// It would be refused, for these faults.
    Refused(Vec<Diagnostic>),
    /// Its preview would take too much memory.
    TooLarge,
}

/// What a change would do.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Preview {
    /// In a sentence.
    pub summary: String,
    /// Whether a new table would be swapped in.
    pub swaps: bool,
    /// Of the table in force.
    pub digest: String,
    /// Of the table that would be.
    pub digest_after: String,
    /// Routes by name.
    pub routes: Changes,
    /// Upstreams by name.
    pub upstreams: Changes,
    /// Settings that would wait for the next start.
    pub restart_for: Vec<String>,
    /// Documents of other sources that the file would lock out, or that would weaken what it
    /// guards; in a sentence each.
    #[serde(default)]
    pub documents: Vec<String>,
    /// Upstreams whose keys could move.
    pub moves: Vec<MoveView>,
    /// Backends that would be left.
    pub leaving: Vec<LeavingView>,
    /// What would become of live sessions; null where no gateway was asked.
    pub sessions: Option<SessionsView>,
    /// Sessions that would not stay as they are.
    #[serde(default)]
    pub endings: Vec<EndingView>,
    /// What was not judged, in a sentence each.
    #[serde(default)]
    pub not_judged: Vec<String>,
    /// Routes that would be removed and have live sessions, by name.
    #[serde(default)]
    pub removed_routes: Vec<RemovedRouteView>,
}

/// A route that would be removed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RemovedRouteView {
    /// Its name.
    pub route: String,
    /// Live in it now.
    pub sessions: usize,
    /// Whether they would end with it (`on_removal = "close"`), or live on.
    pub end: bool,
}

impl RemovedRouteView {
    /// Of those of `removed` that have sessions.
    fn of(removed: &[String], before: &Snapshot, briefs: &[SessionBrief]) -> Vec<Self> {
        let mut live: BTreeMap<&str, usize> = BTreeMap::new();
        for brief in briefs {
            *live.entry(&brief.route).or_default() += 1;
        }
        let routes = before.routes.iter();
        let ending: BTreeSet<&str> = routes
            .filter(|route| route.on_removal == OnRemoval::Close)
            .map(|route| &*route.name)
            .collect();
        let views = removed.iter().filter_map(|route| {
            Some(Self {
                sessions: *live.get(route.as_str())?,
                end: ending.contains(route.as_str()),
                route: route.clone(),
            })
        });
        views.collect()
    }
}

/// How the keys of one upstream would move, by a sample of 10,000 that is always the same: the
/// texts `0` to `9999`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MoveView {
    /// Whose keys.
    pub upstream: String,
    /// Which share of them would be placed elsewhere, 0 to 1; null where keys do not decide.
    pub share: Option<f64>,
    /// Which share each backend has and would have.
    pub backends: Vec<ShareView>,
}

/// Which share of the keys a backend has.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ShareView {
    /// Its id.
    pub backend: String,
    /// 0 to 1; null if it is not a member yet.
    pub before: Option<f64>,
    /// 0 to 1; null if it would be no member any more.
    pub after: Option<f64>,
}

/// A backend that would be left.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LeavingView {
    /// Whose.
    pub upstream: String,
    /// Its id.
    pub backend: String,
    /// `draining`, `disabled`, `removed` or `readdressed`.
    pub why: String,
    /// Live on it now.
    pub sessions: u64,
}

/// What would become of live sessions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SessionsView {
    /// Live now.
    pub live: usize,
    /// Those whose affinity key decides where they would be placed again.
    pub keyed: usize,
    /// Those of the keyed whose key would be placed elsewhere. They stay where they are; it is when
    /// they come again that they come elsewhere.
    pub moved: usize,
    /// Those that would end: with their route (`on_removal = "close"`), or by a drain of their
    /// backend, at its pace.
    pub ended: usize,
    /// Those that a drain would move to another backend.
    #[serde(default)]
    pub resumed: usize,
}

/// Sessions of one route on one backend that would not stay as they are.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EndingView {
    /// The rule that took them.
    pub route: String,
    /// Whose backend.
    pub upstream: String,
    /// The member that holds them.
    pub backend: String,
    /// `route_removed` or `drained` (they would end), or `resumed` (on another backend).
    pub why: String,
    /// So many.
    pub sessions: usize,
    /// The first of them, the oldest first; at most 20.
    pub ids: Vec<String>,
}

/// Ids of sessions that are named.
const IDS_SHOWN: usize = 20;

impl Preview {
    /// Compares two configurations and their tables.
    pub(super) fn compare(
        (before, old): (&Snapshot, &RoutingTable),
        (after, new): (&Snapshot, &RoutingTable),
        sessions: Option<(Sessions, Vec<EndingView>)>,
    ) -> Self {
        let (moves, more) = preview::movements(old, new, clock::now());
        let (sessions, endings) = sessions.unzip();
        let endings = endings.unwrap_or_default();
        let sessions = sessions.map(|sessions| SessionsView::of(sessions, &endings));
        let mut preview = Self {
            summary: String::new(),
            swaps: !new.same_as(old),
            digest: old.digest.to_string(),
            digest_after: new.digest.to_string(),
            routes: route_changes(before, after),
            upstreams: changes(&before.upstreams, &after.upstreams),
            restart_for: restart_needs(before, after),
            documents: Vec::new(),
            moves: moves.iter().map(MoveView::of).collect(),
            leaving: preview::leaving(old, new)
                .iter()
                .map(LeavingView::of)
                .collect(),
            sessions,
            endings,
            not_judged: not_judged(before, after, more),
            removed_routes: Vec::new(),
        };
        preview.summary = preview.sentence();
        preview
    }

    /// By two configurations alone; every backend counts as healthy.
    pub fn of_snapshots(before: &Snapshot, after: &Snapshot) -> Self {
        let now = clock::now();
        let old = RoutingTable::compile(before, None, 1, now);
        let new = RoutingTable::trial(after, &old, now);
        Self::compare((before, &old), (after, &new), None)
    }

    fn sentence(&self) -> String {
        if !self.swaps {
            return "this changes nothing about routes and backends".to_owned();
        }
        let mut parts = vec![self.moved_keys()];
        if let Some(sessions) = &self.sessions {
            let ends = if sessions.ended == 1 { "ends" } else { "end" };
            parts.push(format!("{} {ends}", counted(sessions.ended, "session")));
            if sessions.resumed > 0 {
                let resumed = counted(sessions.resumed, "session");
                parts.push(format!("{resumed} would go on with another backend"));
            }
        }
        if !self.leaving.is_empty() {
            let sessions: u64 = self.leaving.iter().map(|one| one.sessions).sum();
            let left = counted(self.leaving.len(), "backend");
            let sessions = counted(usize::try_from(sessions).unwrap_or(usize::MAX), "session");
            let (get, on) = match self.leaving.len() {
                1 => ("gets", "it"),
                _ => ("get", "them"),
            };
            parts.push(format!(
                "{left} {get} no new sessions any more, with {sessions} live on {on}"
            ));
        }
        parts.join("; ")
    }

    fn moved_keys(&self) -> String {
        let percent = |share: f64| format!("{:.1} %", share * 100.0);
        // Counted, since a share of a few sessions would contradict the share of all keys.
        let keyed = self.sessions.as_ref().filter(|sessions| sessions.keyed > 0);
        let live = keyed.map_or_else(String::new, |sessions| {
            let of = counted(sessions.keyed, "live session");
            format!(", those of {} of {of} among them", sessions.moved)
        });
        let most = self.moves.iter().filter(|one| one.share.is_some());
        let most = most.max_by(|one, other| one.share.partial_cmp(&other.share).expect("shares"));
        match most {
            Some(most) => {
                let share = percent(most.share.unwrap_or_default());
                format!(
                    "this moves {share} of the keys of upstream `{}`{live}",
                    most.upstream
                )
            }
            None => "this moves no keys".to_owned(),
        }
    }
}

fn counted(count: usize, what: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {what}{plural}")
}

/// What a change could do that was not looked at.
fn not_judged(before: &Snapshot, after: &Snapshot, unsampled: usize) -> Vec<String> {
    let known = |id| before.revocations.get(id);
    let new = after.revocations.iter();
    let new = new.filter(|(id, one)| known(*id) != Some(*one)).count();
    let revocations = counted(new, "new revocation");
    let said = format!("{revocations} may end sessions, which were not counted");
    let unsampled = (unsampled > 0).then(|| {
        format!(
            "{} more change; their keys were not sampled",
            counted(unsampled, "upstream")
        )
    });
    let revoked = (new > 0).then_some(said);
    revoked.into_iter().chain(unsampled).collect()
}

/// What would become of the live sessions that do not stay as they are, route by route.
fn endings(
    briefs: &[SessionBrief],
    ending: &[&RouteName],
    drained: &BTreeSet<Place>,
) -> Vec<EndingView> {
    let mut found: BTreeMap<_, (usize, Vec<String>)> = BTreeMap::new();
    for brief in briefs.iter().filter(|brief| !brief.busy) {
        let place = (brief.upstream.clone(), brief.backend.clone());
        let why = match () {
            () if ending.contains(&&brief.route) => "route_removed",
            () if !drained.contains(&place) => continue,
            () if brief.movable => "resumed",
            () => "drained",
        };
        let group = (&brief.route, &brief.upstream, &brief.backend, why);
        let (sessions, ids) = found.entry(group).or_default();
        *sessions += 1;
        if ids.len() < IDS_SHOWN {
            ids.push(brief.id.to_string());
        }
    }
    let views = found.into_iter();
    let views = views.map(
        |((route, upstream, backend, why), (sessions, ids))| EndingView {
            route: route.to_string(),
            upstream: upstream.to_string(),
            backend: backend.to_string(),
            why: why.to_owned(),
            sessions,
            ids,
        },
    );
    views.collect()
}

impl MoveView {
    fn of(movement: &Movement) -> Self {
        let shares = movement.members.iter().map(|member| ShareView {
            backend: member.backend.to_string(),
            before: member.before,
            after: member.after,
        });
        Self {
            upstream: movement.upstream.to_string(),
            share: movement.moved,
            backends: shares.collect(),
        }
    }
}

impl LeavingView {
    fn of(leaving: &Leaving) -> Self {
        Self {
            upstream: leaving.upstream.to_string(),
            backend: leaving.backend.to_string(),
            why: match leaving.why {
                Why::Draining => "draining",
                Why::Disabled => "disabled",
                Why::Removed => "removed",
                Why::Readdressed => "readdressed",
            }
            .to_owned(),
            sessions: leaving.sessions,
        }
    }
}

impl SessionsView {
    fn of(sessions: Sessions, endings: &[EndingView]) -> Self {
        let (resumed, ended): (Vec<_>, Vec<_>) =
            endings.iter().partition(|one| one.why == "resumed");
        let count = |views: &[&EndingView]| views.iter().map(|one| one.sessions).sum();
        Self {
            live: sessions.live,
            keyed: sessions.keyed,
            moved: sessions.moved,
            ended: count(&ended),
            resumed: count(&resumed),
        }
    }
}

impl Configuration {
    /// The same with another text, which is read as if it stood beside the configuration file under
    /// the name `label`.
    fn candidate(&self, label: &str, text: &str, reach: Reach) -> Result<Loaded, PreviewFault> {
        let (Self::File(options) | Self::BuiltIn(options, _)) = self;
        let name = Path::new(label)
            .file_name()
            .unwrap_or_else(|| label.as_ref());
        let options = LoadOptions {
            path: options.path.with_file_name(name),
            ..options.clone()
        };
        load_trial(&options, text, reach).map_err(|fault| match fault {
            TrialFault::NamesOutside => PreviewFault::NamesOutside,
            TrialFault::Faults(faults) => {
                PreviewFault::Refused(named(faults.diagnostics(), &options, label))
            }
        })
    }
}

/// What a change would begin with.
struct Trial {
    base: Arc<Loaded>,
    overlay: Overlay,
    composer: Composer,
}

impl Trial {
    /// The configuration that the candidate would make, within the bounds of a trial, and what
    /// documents would do to what its file protects and guards.
    fn compose(
        mut self,
        configuration: &Configuration,
        candidate: Candidate,
        in_force: &Snapshot,
        reach: Reach,
    ) -> Result<(Snapshot, Vec<String>), PreviewFault> {
        let Candidate {
            name,
            text,
            documents,
        } = candidate;
        let texts = documents.iter().filter_map(|change| match change {
            Change::Put(document) => Some(&*document.text),
            Change::Delete(_) => None,
        });
        let texts = texts.chain(text.as_deref());
        if texts.map(values).sum::<usize>() > VALUES_MAX {
            return Err(PreviewFault::TooLarge);
        }
        if let Some(text) = &text {
            self.base = Arc::new(configuration.candidate(&name, text, reach)?);
        }
        let etcd = in_force.sources.etcd.as_ref();
        let etcd = etcd.filter(|_| reach == Reach::Everything);
        let update = Update {
            source: SourceId::Etcd,
            revision: 0,
            changes: documents,
        };
        let overlay = &mut self.overlay;
        overlay.protect(&Judge::new(&self.base.snapshot));
        let (touched, _) = on_ground(configuration.options(), &self.base, etcd, |ground| {
            overlay.apply(update, ground)
        });
        // What is wrong with other documents was so before, and is no fault of the candidate's.
        let refused = touched.iter().filter(|key| overlay.is_refused(key));
        let faults = refused.flat_map(|key| overlay.found(key));
        let faults: Vec<_> = faults.collect();
        if !faults.is_empty() {
            return Err(PreviewFault::Refused(faults));
        }
        let judged = overlay.judged().iter().map(ToString::to_string).collect();
        let after = self.composer.compose(&self.base.snapshot, overlay, None);
        let after = after.snapshot;
        let known = |name| in_force.upstreams.get(name);
        let changed = after.upstreams.iter();
        let changed = changed.filter(|(name, one)| known(*name) != Some(*one));
        let tables = footprint::tables_bytes(changed.map(|(_, one)| one));
        if tables > footprint::TRIAL_BYTES_MAX {
            return Err(PreviewFault::TooLarge);
        }
        Ok((after, judged))
    }
}

/// Faults of a text that was read as if it stood at a path, under the name that it was sent with.
fn named(faults: &[Diagnostic], options: &LoadOptions, label: &str) -> Vec<Diagnostic> {
    let read_as = Source::File(options.path.clone());
    let mut faults = faults.to_vec();
    for fault in faults.iter_mut().filter(|fault| fault.source == read_as) {
        fault.source = Source::File(PathBuf::from(label));
    }
    faults
}

impl Supervisor {
    /// Waits until no other preview is made: each may take as much memory as a configuration.
    pub async fn preview_turn(&self) -> Turn {
        let turn = Arc::clone(&self.previewing).acquire_owned().await;
        Turn(turn.expect("the semaphore is never closed"))
    }

    /// What would change if this candidate were put into force. The turn ends with the work, even
    /// if the caller no longer waits.
    ///
    /// # Errors
    /// When it names what is out of `reach`, or everything that is wrong with it.
    pub async fn preview(
        &self,
        turn: Turn,
        candidate: Candidate,
        reach: Reach,
    ) -> Result<Preview, PreviewFault> {
        let configuration = self.configuration.clone();
        let changing = self.changing.lock().await;
        let trial = Trial {
            base: Arc::clone(&changing.base),
            overlay: changing.overlay.clone(),
            composer: changing.composer.clone(),
        };
        drop(changing);
        let before = self.loaded();
        let in_force = Arc::clone(&before);
        let old = self.live.table();
        let read = tokio::task::spawn_blocking(move || {
            let in_force = &in_force.snapshot;
            let (after, documents) = trial.compose(&configuration, candidate, in_force, reach)?;
            let new = RoutingTable::trial(&after, &old, clock::now());
            Ok::<_, PreviewFault>((turn, old, after, new, documents))
        });
        let (turn, old, after, new, documents) = read.await.expect("reading does not panic")?;
        let drained = self.drainer.would_begin(&old, &new);
        let briefs = worker_commands::briefs(&self.live, &SessionQuery::default()).await;
        let compare = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            let places = briefs.iter().map(|brief| preview::Place {
                route: &brief.route,
                key: brief.key.as_deref(),
            });
            let sessions = preview::sessions(&old, &new, places, clock::now());
            let ending = preview::ending(&old, &new);
            let endings = endings(&briefs, &ending, &drained);
            let before = &before.snapshot;
            let sessions = Some((sessions, endings));
            let mut preview = Preview::compare((before, &old), (&after, &new), sessions);
            let removed = &preview.routes.removed;
            preview.documents = documents;
            preview.removed_routes = RemovedRouteView::of(removed, before, &briefs);
            preview
        });
        Ok(compare.await.expect("comparing does not panic"))
    }
}
