//! What a preview shows: differences of two configurations, and what becomes of keys and sessions.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::base::clock;
use crate::base::names::RouteName;
use crate::config::snapshot::{OnRemoval, Snapshot};
use crate::control::drainer::BackendKey;
use crate::control::load::Loaded;
use crate::control::supervisor::pending::{PendingChange, waiting};
use crate::control::supervisor::report::{Changes, changes, route_changes};
use crate::control::supervisor::restart::restart_needs;
use crate::core::routing::RoutingTable;
use crate::core::routing::preview::{self, Leaving, Movement, Sessions, Why};
use crate::live::SessionBrief;

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
    /// The same with the values in use and those of the next start, secrets masked.
    #[serde(default)]
    pub restart_changes: Vec<PendingChange>,
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
    /// What was not checked, in a sentence each.
    #[serde(default)]
    pub not_checked: Vec<String>,
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
    pub(super) fn of(removed: &[String], before: &Snapshot, briefs: &[SessionBrief]) -> Vec<Self> {
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
            restart_changes: Vec::new(),
            documents: Vec::new(),
            moves: moves.iter().map(MoveView::of).collect(),
            leaving: preview::leaving(old, new)
                .iter()
                .map(LeavingView::of)
                .collect(),
            sessions,
            endings,
            not_checked: not_checked(before, after, more),
            removed_routes: Vec::new(),
        };
        preview.summary = preview.sentence();
        preview
    }

    /// By two configuration files alone; every backend counts as healthy.
    pub fn of_files(before: &Loaded, after: &Loaded) -> Self {
        Self::of_snapshots(&before.snapshot, &after.snapshot).of_values(before, after)
    }

    /// With the values that would wait for a restart.
    pub(super) fn of_values(self, before: &Loaded, after: &Loaded) -> Self {
        Self {
            restart_changes: waiting(&before.masked, &after.masked, &self.restart_for),
            ..self
        }
    }

    /// By two configurations alone; every backend counts as healthy.
    pub fn of_snapshots(before: &Snapshot, after: &Snapshot) -> Self {
        let now = clock::now();
        let old = RoutingTable::compile(before, None, 1, now);
        let new = RoutingTable::trial(after, &old, now);
        Self::compare((before, &old), (after, &new), None)
    }

    pub(super) fn sentence(&self) -> String {
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

    pub(super) fn moved_keys(&self) -> String {
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

pub(super) fn counted(count: usize, what: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {what}{plural}")
}

/// What a change could do that was not looked at.
pub(super) fn not_checked(before: &Snapshot, after: &Snapshot, unsampled: usize) -> Vec<String> {
    let known = |id| before.revocations.get(id);
    let new = after.revocations.iter();
    let new = new.filter(|(id, one)| known(*id) != Some(*one)).count();
    let revocations = counted(new, "new revocation");
    let notice = format!("{revocations} may end sessions, which were not counted");
    let unsampled = (unsampled > 0).then(|| {
        format!(
            "{} more change; their keys were not sampled",
            counted(unsampled, "upstream")
        )
    });
    let revoked = (new > 0).then_some(notice);
    revoked.into_iter().chain(unsampled).collect()
}

/// What would become of the live sessions that do not stay as they are, route by route.
pub(super) fn endings(
    briefs: &[SessionBrief],
    ending: &[&RouteName],
    drained: &BTreeSet<BackendKey>,
) -> Vec<EndingView> {
    let mut found: BTreeMap<_, (usize, Vec<String>)> = BTreeMap::new();
    for brief in briefs.iter().filter(|brief| !brief.busy) {
        let key = (brief.upstream.clone(), brief.backend.clone());
        let why = match () {
            () if ending.contains(&&brief.route) => "route_removed",
            () if !drained.contains(&key) => continue,
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
    pub(super) fn of(movement: &Movement) -> Self {
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
    pub(super) fn of(leaving: &Leaving) -> Self {
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
    pub(super) fn of(sessions: Sessions, endings: &[EndingView]) -> Self {
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
