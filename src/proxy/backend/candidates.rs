//! Which backend: the candidates of one request, one after the other, until one is reached or the
//! budget is spent.

use std::sync::Arc;

use smallvec::SmallVec;
use tokio::time::Instant;

use crate::base::clock;
use crate::base::names::{BackendId, RouteName};
use crate::core::balance::Passed;
use crate::core::health::{Outcome, Witness};
use crate::core::routing::{Member, Upstream};
use crate::core::session::details::{Choice, Placement};
use crate::io::carrier::Carrier;
use crate::proxy::backend::dial::{self, DialPlan, NotReached};
use crate::proxy::backend::lease::BackendLease;
use crate::proxy::backend::sticking::{StickRule, Sticking};
use crate::proxy::context::worker::Worker;

/// What a request needs of a backend.
pub(crate) struct Wanted<'r> {
    pub(crate) upstream: &'r Arc<Upstream>,
    /// The affinity key.
    pub(crate) key: Option<&'r [u8]>,
    pub(crate) route: &'r RouteName,
    /// Whether it is a session; an ordinary request is too short to count.
    pub(crate) session: bool,
    pub(crate) stickiness: Stickiness,
    /// How the keys of its route stick.
    pub(crate) stick: Option<StickRule>,
    /// The client for passive health, which counts failures by client.
    pub(crate) witness: Witness,
    /// No candidate is tried after this.
    pub(crate) until: Instant,
}

/// How live sessions with the same key decide.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stickiness {
    /// Nothing.
    None,
    /// Later sessions follow this one. It follows none itself: stickiness applies to new sessions
    /// only, and this one moves.
    Leads,
    /// It follows them, and later sessions follow it.
    Follows,
}

/// Why there is no further candidate.
#[derive(Debug)]
pub(crate) enum Exhausted {
    /// The time is over.
    TimedOut,
    /// The last candidate that was dialled was not reached.
    Unreachable(NotReached),
    /// No member of this upstream is eligible.
    NoneEligible(String),
}

/// The candidates of one request.
pub(crate) struct Candidates<'r> {
    wanted: Wanted<'r>,
    worker: &'r Worker,
    tried: SmallVec<[usize; 4]>,
    /// How many of those were left out without a try.
    passed_over: usize,
    sticky: Option<Sticking>,
    /// Tried before all others.
    preferred: Option<usize>,
    /// The backend that the fleet keeps for the key, tried next.
    of_fleet: Option<(usize, Choice)>,
    /// Why the last one was not reached.
    last: Option<NotReached>,
    /// How the present candidate was chosen.
    placement: Placement,
}

impl<'r> Candidates<'r> {
    /// The candidates for what is wanted, none of them tried.
    pub(crate) fn new(worker: &'r Worker, wanted: Wanted<'r>) -> Self {
        let rule = wanted
            .stick
            .filter(|_| wanted.stickiness != Stickiness::None);
        let sticky = rule
            .zip(wanted.key)
            .map(|(rule, key)| Sticking::new(worker, rule, wanted.upstream.name(), key));
        Self {
            wanted,
            worker,
            tried: SmallVec::new(),
            passed_over: 0,
            sticky,
            preferred: None,
            of_fleet: None,
            last: None,
            placement: Placement::default(),
        }
    }

    /// How the present candidate was chosen, and which were passed over before it.
    pub(crate) fn take_placement(&mut self) -> Placement {
        std::mem::take(&mut self.placement)
    }

    /// Notes why a candidate does not get the session.
    pub(crate) fn note_miss(&mut self, lease: &BackendLease, reason: &str) {
        self.placement.pass(lease.backend().clone(), reason);
    }

    /// Tries this member first, if it may take a session.
    pub(crate) fn prefer(&mut self, id: &BackendId) {
        self.preferred = self.wanted.upstream.index_of(id);
    }

    /// Leaves this member out if another is eligible.
    pub(crate) fn pass_over(&mut self, id: &BackendId) {
        let Wanted { upstream, key, .. } = self.wanted;
        if let Some(index) = upstream.members.iter().position(|member| member.id == *id) {
            let random = fastrand::u64(..);
            if upstream
                .pick_for_session(key, &[index], clock::now(), random)
                .is_some()
            {
                self.tried.push(index);
                self.passed_over = 1;
            }
        }
    }

    /// Whether attempts or time are used up.
    fn is_spent(&self) -> bool {
        let tried = self.tried.len() - self.passed_over;
        tried >= self.wanted.upstream.config.attempts as usize
            || Instant::now() >= self.wanted.until
    }

    /// Whether there is a further candidate.
    pub(crate) fn has_next(&self) -> bool {
        let (now, random) = (clock::now(), fastrand::u64(..));
        let Wanted { upstream, key, .. } = self.wanted;
        let next = || upstream.pick_for_session(key, &self.tried, now, random);
        !self.is_spent() && next().is_some()
    }

    /// The next candidate, while the budget lasts.
    pub(crate) fn next(&mut self) -> Option<(&'r Member, BackendLease)> {
        if self.is_spent() {
            return None;
        }
        let (now, random) = (clock::now(), fastrand::u64(..));
        let Wanted { upstream, key, .. } = self.wanted;
        let index = if let Some((index, choice)) = self.followed(now) {
            self.placement.choice = choice;
            index
        } else if self.wanted.session {
            let placement = &mut self.placement;
            let note = |index: usize, passed: Passed| {
                // Those were noted when they failed.
                if passed != Passed::Tried {
                    placement.pass(upstream.members[index].id.clone(), passed.as_str());
                }
            };
            let picked = upstream.pick_for_session_noting(key, &self.tried, now, random, note)?;
            self.placement.choice = match self.placement.passed.is_empty() {
                true => Choice::FirstChoice,
                false => Choice::Walk,
            };
            picked
        } else {
            upstream.pick(key, &self.tried, now, random)?
        };
        self.tried.push(index);
        self.placement.level = upstream.placed_level(index);
        let member = &upstream.members[index];
        let lease = BackendLease::take(self.worker, upstream, member, self.wanted.session);
        // The key goes along with a session that goes elsewhere than the key was.
        let failed = self.tried.len() - self.passed_over > 1;
        let moves = failed || self.wanted.stickiness == Stickiness::Leads;
        let lease = lease.stick(self.worker, self.sticky.as_ref(), moves);
        Some((member, lease))
    }

    /// Asks the fleet for the backend of a sticky key, unless this node has live sessions of it. To
    /// be called before the first candidate.
    pub(crate) async fn consult_fleet(&mut self) {
        let Some(sticky) = self.sticky.as_ref().filter(|sticky| sticky.is_of_fleet()) else {
            return;
        };
        let now = clock::now();
        if self.preferred.is_some() || self.beside_live_sessions(now).is_some() {
            return;
        }
        let Wanted {
            upstream,
            key,
            session,
            ..
        } = self.wanted;
        let random = fastrand::u64(..);
        let picked = match session {
            true => upstream.pick_for_session(key, &self.tried, now, random),
            false => upstream.pick(key, &self.tried, now, random),
        };
        let Some(own) = picked.map(|index| &upstream.members[index].id) else {
            return;
        };
        let may = |id: &BackendId| {
            let index = upstream.index_of(id)?;
            let may = upstream.may_take(index, &self.tried, now, session);
            may.then_some(index)
        };
        let Some(first) = sticky.of_fleet(session, own, None).await else {
            return;
        };
        let found = match may(&first) {
            Some(index) => Some((index, first)),
            // This node cannot use it. Its own health decides, and the key moves.
            None => match sticky.of_fleet(session, own, Some(&first)).await {
                Some(second) => may(&second).map(|index| (index, second)),
                None => None,
            },
        };
        self.of_fleet = found.map(|(index, id)| {
            let choice = match id == *own {
                true => Choice::FirstChoice,
                false => Choice::Fleet,
            };
            (index, choice)
        });
    }

    /// The member that is preferred, else the backend of the key's live sessions, else the one that
    /// the fleet or this node keeps for it, if it may take one more.
    fn followed(&mut self, now: std::time::Instant) -> Option<(usize, Choice)> {
        let upstream = self.wanted.upstream;
        let session = self.wanted.session;
        let may = |index: &usize, tried: &[usize]| upstream.may_take(*index, tried, now, session);
        if let Some(index) = self.preferred.take()
            && may(&index, &self.tried)
        {
            return Some((index, Choice::Stick));
        }
        if let Some(index) = self.beside_live_sessions(now) {
            return Some((index, Choice::Stick));
        }
        let of_fleet = self.of_fleet.take();
        if let Some((index, choice)) = of_fleet
            && may(&index, &self.tried)
        {
            return Some((index, choice));
        }
        let follows = self.wanted.stickiness == Stickiness::Follows && of_fleet.is_none();
        let key = self.sticky.as_ref().filter(|_| follows)?.key();
        let kept = self.worker.live().sticks().kept(key)?;
        let index = upstream.index_of(&kept)?;
        may(&index, &self.tried).then_some((index, Choice::Stick))
    }

    /// The backend of the key's live sessions on this node, if it may take one more.
    fn beside_live_sessions(&self, now: std::time::Instant) -> Option<usize> {
        let follows = self.wanted.stickiness == Stickiness::Follows;
        let key = self.sticky.as_ref().filter(|_| follows)?.key();
        let upstream = self.wanted.upstream;
        let backends = self.worker.live().sticks().backends(key);
        let mut indexes = backends.iter().filter_map(|id| upstream.index_of(id));
        indexes.find(|index| upstream.may_take(*index, &self.tried, now, self.wanted.session))
    }

    /// Goes on to the next candidate until one is connected to. Nothing has been sent but, where
    /// asked for, a PROXY header.
    pub(crate) async fn reach(
        &mut self,
        plan: &DialPlan<'_>,
    ) -> Result<(BackendLease, Carrier), Exhausted> {
        while let Some((member, lease)) = self.next() {
            match self.connect(member, plan).await {
                Ok(carrier) => return Ok((lease, carrier)),
                Err(error) => self.not_reached(&lease, error),
            }
        }
        Err(self.exhausted())
    }

    /// Dials one member.
    pub(crate) async fn connect(
        &self,
        member: &Member,
        plan: &DialPlan<'_>,
    ) -> Result<Carrier, NotReached> {
        let upstream = self.wanted.upstream;
        let session = self.wanted.session;
        let carrier = dial::connect(self.worker.live(), upstream, member, plan, session).await?;
        if let Some(resumed) = carrier.resumed() {
            let metrics = self
                .worker
                .route_metrics(self.wanted.route, upstream.name());
            metrics.tls_connected(resumed);
        }
        Ok(carrier)
    }

    /// Counts a failed dial and keeps it for the answer if no candidate succeeds. It counts against
    /// the backend, unless the gateway itself lacks something.
    pub(crate) fn not_reached(&mut self, lease: &BackendLease, error: NotReached) {
        let upstream = self.wanted.upstream.name();
        tracing::debug!(%upstream, %error, "backend not reached");
        let metrics = self.worker.route_metrics(self.wanted.route, upstream);
        metrics.connect_failed(error.reason());
        if !error.is_ours() {
            lease.report(Outcome::ConnectFailed, self.wanted.witness);
        }
        self.note_miss(lease, error.reason());
        self.last = Some(error);
    }

    /// Why there is no further candidate.
    pub(crate) fn exhausted(&mut self) -> Exhausted {
        match self.last.take() {
            _ if Instant::now() >= self.wanted.until => Exhausted::TimedOut,
            Some(error) => Exhausted::Unreachable(error),
            None => Exhausted::NoneEligible(self.wanted.upstream.name().to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::base::names::UpstreamName;
    use crate::config::snapshot::AdminState;
    use crate::proxy::tests::Fixture;

    const UPSTREAM: &str = r#"
        [upstreams.chat]
        backends = ["127.0.0.1:9101", "127.0.0.1:9102", "127.0.0.1:9103"]
        attempts = 2
        [[routes]]
        name = "chat"
        upstream = "chat"
    "#;

    /// Calls `look` with the candidates of a key.
    fn candidates<T>(
        fixture: &Fixture,
        (stickiness, left): (Stickiness, Duration),
        look: impl FnOnce(Candidates<'_>) -> T,
    ) -> T {
        let table = fixture.worker.live().table();
        let upstream = table.upstream(&UpstreamName::from("chat"));
        let wanted = Wanted {
            upstream: upstream.expect("it is configured"),
            key: Some(b"ann"),
            route: &RouteName::from("chat"),
            session: true,
            stickiness,
            stick: Some(StickRule::HERE),
            witness: Witness::default(),
            until: Instant::now() + left,
        };
        look(Candidates::new(&fixture.worker, wanted))
    }

    const HOUR: Duration = Duration::from_secs(3600);

    /// The next candidate's id.
    fn next(candidates: &mut Candidates<'_>) -> Option<BackendId> {
        candidates.next().map(|(member, _)| member.id.clone())
    }

    #[test]
    fn the_walk_is_as_long_as_the_budget_and_repeats_nothing() {
        let fixture = Fixture::new(UPSTREAM);
        candidates(&fixture, (Stickiness::None, HOUR), |mut walk| {
            let first = next(&mut walk).expect("three are eligible");
            assert!(walk.has_next());
            let second = next(&mut walk).expect("two attempts");
            assert_ne!(first, second);
            assert!(!walk.has_next());
            assert_eq!(next(&mut walk), None, "attempts are used up");
        });
    }

    #[test]
    fn i2_a_key_has_one_home() {
        let fixture = Fixture::new(UPSTREAM);
        let first = || {
            candidates(&fixture, (Stickiness::None, HOUR), |mut walk| {
                next(&mut walk)
            })
        };
        assert!(first().is_some());
        assert_eq!(first(), first());
    }

    #[test]
    fn the_walk_is_noted_as_it_was() {
        let fixture = Fixture::new(UPSTREAM);
        candidates(&fixture, (Stickiness::None, HOUR), |mut walk| {
            let (first, lease) = walk.next().expect("three are eligible");
            let first = first.id.clone();
            walk.note_miss(&lease, "refused");
            let second = walk.next().expect("two attempts").0.id.clone();
            let placement = walk.take_placement();
            assert_eq!(placement.choice, Choice::Walk);
            let passed = &placement.passed[..];
            let [one] = passed else { panic!("{passed:?}") };
            assert_eq!((&one.backend, &*one.reason), (&first, "refused"));
            assert_ne!(first, second);
        });
        candidates(&fixture, (Stickiness::None, HOUR), |mut walk| {
            let member = walk.next().expect("three are eligible").0;
            member.state.order(Some(AdminState::Draining));
            assert_eq!(walk.take_placement().choice, Choice::FirstChoice);
        });
        candidates(&fixture, (Stickiness::None, HOUR), |mut walk| {
            walk.next().expect("two are eligible");
            let placement = walk.take_placement();
            assert_eq!(placement.choice, Choice::Walk);
            assert_eq!(&*placement.passed[0].reason, "draining");
        });
    }

    #[test]
    fn a_shunned_backend_is_passed_over_without_costing_an_attempt() {
        let fixture = Fixture::new(UPSTREAM);
        let budget = (Stickiness::None, HOUR);
        let home = candidates(&fixture, budget, |mut walk| next(&mut walk)).expect("a home");
        candidates(&fixture, budget, |mut walk| {
            walk.pass_over(&home);
            let tried = [next(&mut walk), next(&mut walk)];
            assert!(
                tried
                    .iter()
                    .all(|id| id.is_some() && *id != Some(home.clone()))
            );
        });
    }

    #[test]
    fn the_only_backend_is_not_passed_over() {
        let fixture = Fixture::new(
            "[upstreams.chat]\nbackends = [\"127.0.0.1:9101\"]\n\
             [[routes]]\nname = \"chat\"\nupstream = \"chat\"\n",
        );
        let budget = (Stickiness::None, HOUR);
        let only = candidates(&fixture, budget, |mut walk| next(&mut walk)).expect("one");
        candidates(&fixture, budget, |mut walk| {
            walk.pass_over(&only);
            assert_eq!(next(&mut walk), Some(only));
        });
    }

    #[test]
    fn without_time_there_is_no_candidate() {
        let fixture = Fixture::new(UPSTREAM);
        candidates(&fixture, (Stickiness::None, Duration::ZERO), |mut walk| {
            assert_eq!(next(&mut walk), None);
            assert!(matches!(walk.exhausted(), Exhausted::TimedOut));
        });
    }

    #[test]
    fn new_sessions_follow_a_live_one_and_moving_ones_do_not() {
        let fixture = Fixture::new(UPSTREAM);
        let home = candidates(&fixture, (Stickiness::None, HOUR), |mut walk| {
            next(&mut walk)
        });
        // A live session of the key that is not at home.
        let away = candidates(&fixture, (Stickiness::Leads, HOUR), |mut walk| {
            walk.next();
            walk.next()
                .map(|(member, lease)| (member.id.clone(), lease))
        });
        let (away, lease) = away.expect("another backend");
        assert_ne!(home, Some(away.clone()));
        let first =
            |stickiness| candidates(&fixture, (stickiness, HOUR), |mut walk| next(&mut walk));
        assert_eq!(first(Stickiness::Follows), Some(away));
        assert_eq!(first(Stickiness::Leads), home);
        drop(lease);
        assert_eq!(first(Stickiness::Follows), home);
    }
}
