//! Commands about published messages and groups.

use std::rc::Rc;

use tokio::sync::oneshot;

use crate::base::clock;
use crate::base::group::GroupName;
use crate::base::session_id::SessionId;
use crate::core::messages::index::Membership;
use crate::core::messages::member::Member;
use crate::core::messages::presence::ITEMS_MAX;
use crate::core::messages::topic::Topic;
use crate::live::{GroupSlice, MessageCommand, PresenceNote, RosterAsk, Sliced};
use crate::proxy::session::delivery_queue::{QueuedDelivery, QueuedReplay};
use crate::proxy::session::live_session::Session;
use crate::proxy::session::registry::Sessions;

/// Carries out a command about messages and groups.
pub(crate) fn carry_out(sessions: &Rc<Sessions>, command: MessageCommand) {
    match command {
        MessageCommand::Deliver { delivery, answer } => {
            sessions
                .delivery_queue
                .push(QueuedDelivery { delivery, answer });
        }
        MessageCommand::Replay {
            id,
            deliveries,
            gap,
            more,
            last,
            answer,
        } => {
            let replay = QueuedReplay {
                id,
                deliveries,
                gap,
                more,
                last,
            };
            reply(answer, queue_replay(sessions, replay));
        }
        MessageCommand::Join {
            id,
            group,
            ttl,
            metadata,
            answer,
        } => {
            let membership = Membership {
                group,
                expires: ttl.map(|ttl| clock::now() + ttl),
                metadata,
            };
            let here = sessions.find(id).filter(|session| session.is_here());
            let joined = here.map(|session| sessions.index.join(&session, membership));
            reply(answer, joined);
        }
        MessageCommand::Leave { id, group, answer } => {
            let here = sessions.find(id).filter(|session| session.is_here());
            let left = here.map(|_| sessions.index.leave(id, &group));
            reply(answer, left);
        }
        MessageCommand::Members {
            group,
            slice,
            answer,
        } => {
            let (members, next) = members(sessions, &group, slice.after, slice.limit);
            let count = sessions.index.count(&Topic::Group(group)) as u64;
            let answered = Sliced {
                answer: GroupSlice { members, count },
                next,
            };
            reply(answer, answered);
        }
        MessageCommand::Groups { slice, answer } => {
            let sliced = sessions.slice_of_all(slice);
            reply(answer, sliced.map(|found| groups_of(sessions, &found)));
        }
        MessageCommand::Roster {
            group,
            asked,
            after,
        } => report_members(sessions, group, asked, after),
    }
}

/// Queues what a session has missed, if it is here.
fn queue_replay(sessions: &Sessions, replay: QueuedReplay) -> bool {
    let here = sessions.find(replay.id).is_some();
    if here {
        sessions.delivery_queue.push_replay(replay);
    }
    here
}

/// The groups of these sessions, one for each membership.
fn groups_of(sessions: &Sessions, found: &[Rc<Session>]) -> Vec<GroupName> {
    let of = |session: &Rc<Session>| sessions.index.groups_of(session.id);
    let memberships = found.iter().flat_map(of);
    memberships.map(|membership| membership.group).collect()
}

/// Reports members of a group behind `after` to those who watch it.
fn report_members(
    sessions: &Sessions,
    group: GroupName,
    asked: RosterAsk,
    after: Option<SessionId>,
) {
    let (mut members, next) = members(sessions, &group, after, ITEMS_MAX);
    for member in &mut members {
        member.ttl_ms = None;
    }
    sessions.index.report(PresenceNote::Slice {
        group,
        asked,
        worker: sessions.worker().index,
        members,
        next,
    });
}

/// Members of a group behind `after`, and where the next ones begin.
fn members(
    sessions: &Sessions,
    group: &GroupName,
    after: Option<SessionId>,
    most: usize,
) -> (Vec<Member>, Option<SessionId>) {
    let topic = Topic::Group(group.clone());
    let slice = sessions.index.slice(&topic, after, most);
    let found = slice.ids.iter().filter_map(|id| sessions.find(*id));
    let members = found.filter_map(|session| sessions.index.member(&session, group));
    (members.collect(), slice.next)
}

/// Sends an answer; the asker may have given up waiting.
fn reply<A>(answer: oneshot::Sender<A>, value: A) {
    let _ = answer.send(value);
}
