//! What is asked about single sessions and about groups: of the sessions of this node, and of those
//! of the whole fleet.

use std::sync::Arc;
use std::time::Duration;

use crate::base::clock;
use crate::base::group::GroupName;
use crate::base::metadata::Metadata;
use crate::base::session_id::SessionId;
use crate::control::messages::Messages;
use crate::core::messages::index::JoinError;
use crate::core::messages::member::{Member, MembersPage};
use crate::core::messages::signal::{Answer, CloseWith, Found, MEMBERS_MAX, Question};
use crate::core::session::orders::CloseOrder;
use crate::core::session::record::{Cause, EndOrder};
use crate::live::{GroupSlice, MessageCommand, SessionQuery, Slice, WorkerCommand};

/// For all other nodes to answer. They answer at once if they live.
pub(super) const ANSWER_MAX: Duration = Duration::from_secs(3);
/// For a worker to list a slice of members.
pub(super) const SLICE_MAX: Duration = Duration::from_secs(5);
/// Bytes of members in an answer, about.
const PAGE_BYTES: usize = 256 * 1024;

/// What came of a question about one session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// The node that has the session answered.
    Answered(Answer),
    /// Every live node answered that it does not have it.
    Nowhere,
    /// No node that answered has it, but some did not answer or may not be known.
    Unknown,
}

/// What came of a question to all nodes about a group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FleetPage {
    /// The members.
    pub page: MembersPage,
    /// Nodes that answered, this one among them.
    pub nodes: usize,
    /// Nodes that did not.
    pub missing: usize,
}

impl Messages {
    /// Asks the node that has a session: this one first, then the others.
    pub async fn ask_about(&self, question: Question) -> Lookup {
        let here = self.answer(question.clone()).await;
        if here.is_of_the_session() {
            return Lookup::Answered(here);
        }
        let mut known = here == Answer::NotHere && self.knows_all_nodes();
        if let Some(fleet) = &self.fleet {
            let enough = Answer::is_of_the_session;
            let replies = fleet.ask(question, ANSWER_MAX, enough).await;
            known &= replies.missing == 0;
            for answer in replies.answers {
                if answer.is_of_the_session() {
                    return Lookup::Answered(answer);
                }
                known &= answer == Answer::NotHere;
            }
        }
        match known {
            true => Lookup::Nowhere,
            false => Lookup::Unknown,
        }
    }

    /// The members of a group on all nodes behind `after`, in the order of their ids.
    pub async fn members(
        &self,
        group: &GroupName,
        after: Option<SessionId>,
        most: usize,
    ) -> FleetPage {
        let here = self.members_here(group, after, most);
        let there = async {
            let fleet = self.fleet.as_ref()?;
            let group = group.clone();
            let question = Question::Members { group, after, most };
            Some(fleet.ask(question, ANSWER_MAX, |_| false).await)
        };
        let (here, there) = tokio::join!(here, there);
        let (mut pages, mut missing) = (Vec::new(), 0);
        pages.extend(here);
        if let Some(replies) = there {
            missing = replies.missing;
            for answer in replies.answers {
                match answer {
                    Answer::Members(page) => pages.push(page),
                    _ => missing += 1,
                }
            }
        }
        let nodes = pages.len();
        let mut page = MembersPage::merge(pages);
        page.cut(most, usize::MAX);
        FleetPage {
            page,
            nodes,
            missing,
        }
    }

    /// The answer of this node alone.
    pub(super) async fn answer(&self, question: Question) -> Answer {
        let answered = match question {
            Question::Find { id } => self.find(id).await,
            Question::Close { id, by, with } => self.close(id, by, with).await,
            Question::Join {
                id,
                group,
                ttl_ms,
                metadata,
            } => {
                let ttl = ttl_ms.map(Duration::from_millis);
                let joined = self.join(id, group, ttl, metadata).await;
                joined.map(|joined| match joined {
                    Ok(changed) => Answer::Done { changed },
                    Err(error) => Answer::Refused {
                        why: error.to_string().into(),
                    },
                })
            }
            Question::Leave { id, group } => {
                let left = self.leave(id, group).await;
                left.map(|changed| Answer::Done { changed })
            }
            Question::Members { group, after, most } => {
                let page = self.members_here(&group, after, most).await;
                return page.map_or(Answer::Failed, Answer::Members);
            }
            Question::Groups { prefix, most } => {
                let counts = self.groups_here(&prefix, most).await;
                return counts.map_or(Answer::Failed, Answer::Groups);
            }
        };
        answered.unwrap_or_else(|| self.not_found())
    }

    /// The session, unless it is not here or ending.
    async fn find(&self, id: SessionId) -> Option<Answer> {
        let command = |slice, answer| WorkerCommand::Sessions {
            query: SessionQuery::one(id),
            limit: 1,
            slice,
            answer,
        };
        let walked = self.live.workers().walk(command).await;
        let incomplete = !walked.silent.is_empty();
        let mut found = walked.answers.into_iter().flatten();
        let Some(view) = found.next().filter(|view| !view.closing) else {
            return incomplete.then_some(Answer::Failed);
        };
        let request = &view.facts.request;
        // The idle time is coarse: to a tenth of a second.
        let active = (clock::wall() - view.idle).max(request.granted());
        Some(Answer::Found(Found {
            granted_ms: clock::unix_millis(request.granted()),
            active_ms: clock::unix_millis(active),
            client: request.client().into(),
        }))
    }

    async fn close(&self, id: SessionId, by: Arc<str>, with: Option<CloseWith>) -> Option<Answer> {
        let (code, reason) = match with {
            Some(with) => (with.code, with.reason),
            None => (1000, "".into()),
        };
        let order = CloseOrder {
            code,
            reason,
            cause: Cause::Kicked,
        };
        let given = EndOrder {
            operator: Some(by),
            ..EndOrder::default()
        };
        let given = Some(Arc::new(given));
        let command = |slice, answer| WorkerCommand::Close {
            query: SessionQuery::one(id),
            order: order.clone(),
            given: given.clone(),
            slice,
            answer,
        };
        let walked = self.live.workers().walk(command).await;
        let closed: usize = walked.answers.into_iter().sum();
        match (closed, walked.silent.is_empty()) {
            (0, true) => None,
            (0, false) => Some(Answer::Failed),
            _ => Some(Answer::Done { changed: true }),
        }
    }

    async fn join(
        &self,
        id: SessionId,
        group: GroupName,
        ttl: Option<Duration>,
        metadata: Option<Metadata>,
    ) -> Option<Result<bool, JoinError>> {
        let command = |answer| {
            let (group, metadata) = (group.clone(), metadata.clone());
            WorkerCommand::Messages(MessageCommand::Join {
                id,
                group,
                ttl,
                metadata,
                answer,
            })
        };
        let answers = self.live.workers().ask(command).await;
        answers.into_iter().flatten().next()
    }

    async fn leave(&self, id: SessionId, group: GroupName) -> Option<bool> {
        let command = |answer| {
            let group = group.clone();
            WorkerCommand::Messages(MessageCommand::Leave { id, group, answer })
        };
        let answers = self.live.workers().ask(command).await;
        answers.into_iter().flatten().next()
    }

    /// Members of a group on this node after `after`, sorted by id; `None` if a worker does not
    /// answer.
    pub async fn members_here(
        &self,
        group: &GroupName,
        after: Option<SessionId>,
        most: usize,
    ) -> Option<MembersPage> {
        let most = most.min(MEMBERS_MAX);
        let command = |slice: Slice, answer| {
            let group = group.clone();
            WorkerCommand::Messages(MessageCommand::Members {
                group,
                slice,
                answer,
            })
        };
        let workers = self.live.workers();
        let mut counts = vec![0; workers.len()];
        let mut listed = vec![0; workers.len()];
        let mut members: Vec<Member> = Vec::new();
        let each = |place: usize, answer: GroupSlice| {
            counts[place] = answer.count;
            listed[place] += answer.members.len();
            members.extend(answer.members);
            // One more than is asked for shows whether there are more.
            listed[place] <= most
        };
        let silent = workers.walk_each(SLICE_MAX, after, command, each).await;
        if !silent.is_empty() {
            return None;
        }
        members.sort_unstable_by_key(|member| member.id);
        let mut page = MembersPage {
            members,
            more: false,
            count: counts.iter().sum(),
        };
        page.cut(most, PAGE_BYTES);
        Some(page)
    }
}
