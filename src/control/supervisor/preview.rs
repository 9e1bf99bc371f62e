//! What a candidate would change if it were put into force: read and checked like any other
//! configuration, compiled on trial, compared, and thrown away.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::base::clock;
use crate::config::diagnostic::{Diagnostic, Source};
use crate::config::snapshot::{OnRemoval, Snapshot};
use crate::control::load::{self, LoadOptions};
use crate::control::supervisor::{Changes, Configuration, Supervisor};
use crate::control::supervisor::{changes, restart_needs, route_changes};
use crate::core::routing::RoutingTable;
use crate::core::routing::preview::{self, Leaving, Movement, Place, Sessions, Why};
use crate::live::{Live, SessionBrief, SessionQuery, WorkerCommand};

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
    /// Upstreams whose keys could move.
    pub moves: Vec<MoveView>,
    /// Backends that would be left.
    pub leaving: Vec<LeavingView>,
    /// What would become of live sessions; null where no gateway was asked.
    pub sessions: Option<SessionsView>,
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
    /// Those that would end with their route (`on_removal = "close"`).
    pub ended: usize,
}

impl Preview {
    /// Compares two configurations and their tables.
    pub(super) fn compare(
        (before, old): (&Snapshot, &RoutingTable),
        (after, new): (&Snapshot, &RoutingTable),
        sessions: Option<Sessions>,
    ) -> Self {
        let mut preview = Self {
            summary: String::new(),
            swaps: old.digest != new.digest,
            digest: old.digest.to_string(),
            digest_after: new.digest.to_string(),
            routes: route_changes(before, after),
            upstreams: changes(&before.upstreams, &after.upstreams),
            restart_for: restart_needs(before, after),
            moves: preview::movements(old, new, clock::now())
                .iter()
                .map(MoveView::of)
                .collect(),
            leaving: preview::leaving(old, new)
                .iter()
                .map(LeavingView::of)
                .collect(),
            sessions: sessions.map(SessionsView::of),
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
    fn of(sessions: Sessions) -> Self {
        Self {
            live: sessions.live,
            keyed: sessions.keyed,
            moved: sessions.moved,
            ended: sessions.ended,
        }
    }
}

impl Configuration {
    /// The same with another text, which is read as if it stood beside the configuration file under
    /// the name `label`.
    fn candidate(&self, label: &str, text: &str) -> Result<load::Loaded, Vec<Diagnostic>> {
        let (Self::File(options) | Self::BuiltIn(options, _)) = self;
        let name = Path::new(label)
            .file_name()
            .unwrap_or_else(|| label.as_ref());
        let options = LoadOptions {
            path: options.path.with_file_name(name),
            ..options.clone()
        };
        load::load_text(&options, text)
            .map_err(|faults| named(faults.diagnostics(), &options, label))
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
    /// What would change if this text took the place of the configuration file. `label` is its
    /// name in what is said about it.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub async fn preview(&self, label: &str, text: String) -> Result<Preview, Vec<Diagnostic>> {
        let configuration = self.configuration.clone();
        let changing = self.changing.lock().await;
        let (mut overlay, mut composer) = (changing.overlay.clone(), changing.composer.clone());
        drop(changing);
        let before = self.loaded();
        let old = self.live.table_arc();
        let label = label.to_owned();
        let read = tokio::task::spawn_blocking(move || {
            let candidate = configuration.candidate(&label, &text)?;
            let after = composer.compose(&candidate.snapshot, &mut overlay, None);
            let after = after.snapshot;
            let new = RoutingTable::trial(&after, &old, clock::now());
            Ok::<_, Vec<Diagnostic>>((old, after, new))
        });
        let (old, after, new) = read.await.expect("reading does not panic")?;
        let briefs = briefs(&self.live).await;
        let compare = tokio::task::spawn_blocking(move || {
            let places = briefs.iter().map(|brief| Place {
                route: &brief.route,
                key: brief.key.as_deref(),
            });
            let sessions = preview::sessions(&old, &new, places, clock::now());
            let before = &before.snapshot;
            let mut preview = Preview::compare((before, &old), (&after, &new), Some(sessions));
            let removed = &preview.routes.removed;
            preview.removed_routes = RemovedRouteView::of(removed, before, &briefs);
            preview
        });
        Ok(compare.await.expect("comparing does not panic"))
    }
}

/// All live sessions; those of a worker that is gone are none.
async fn briefs(live: &Live) -> Vec<SessionBrief> {
    let mut all = Vec::new();
    for worker in live.workers() {
        let query = SessionQuery::default();
        let briefs = worker.ask(|answer| WorkerCommand::Briefs { query, answer });
        all.extend(briefs.await.unwrap_or_default());
    }
    all
}
