//! Messages that services publish: the hub, and the publishing API.

use std::io;
use std::sync::Arc;

use tokio::sync::oneshot;
use tokio::task::{JoinHandle, JoinSet};

use crate::admin::api_socket::ApiSocket;
use crate::config::snapshot::{BrokerKind, Publish, Snapshot};
use crate::control::messages::Messages;
use crate::core::messages::history::History;
use crate::core::messages::index::GroupBounds;
use crate::io::broker::{self, HistoryLog, LogEvents, Outlet};
use crate::live::{Live, MessagesSetup, PresenceFeed};
use crate::proxy::worker::Shared;
use crate::publish::{self, Publisher};
use crate::telemetry::metrics::{MessageMetrics, Metrics};

/// Has workers index sessions by principal and group, where messages are published.
pub(super) fn prepare(live: &Live, snapshot: &Snapshot, metrics: &Arc<Metrics>, workers: usize) {
    if snapshot.publish.is_none() && snapshot.broker.is_none() {
        return;
    }
    let prefix = snapshot.broker.as_ref().map(|one| Arc::clone(&one.prefix));
    let broker = snapshot.broker.as_ref();
    let published = broker.map_or_else(Vec::new, |broker| broker.presence.clone());
    let bounds = snapshot.memberships;
    live.set_messages(MessagesSetup {
        prefix: prefix.unwrap_or_default(),
        bounds: GroupBounds {
            per_session: bounds.groups_per_session,
            per_worker: bounds.memberships_max.div_ceil(workers),
        },
        replays: has_history(snapshot).then(Arc::default),
        interest: snapshot.broker.as_ref().map(|_| Arc::default()),
        presence: Arc::new(PresenceFeed::publishing(published)),
        refused: MessageMetrics::new(metrics).memberships_refused(),
    });
}

/// What delivers messages, if anything does, and the publishing API while it serves.
pub(super) struct Publishing {
    messages: Option<Arc<Messages>>,
    api: Option<Serving>,
}

struct Serving {
    stop: oneshot::Sender<()>,
    server: JoinHandle<io::Result<()>>,
}

/// Serves the publishing API, if it is `bound`, and follows the broker.
pub(super) fn begin(
    bound: Option<ApiSocket>,
    shared: &Shared,
    (snapshot, takes_over): (&Snapshot, bool),
    background: &mut JoinSet<()>,
) -> Publishing {
    if shared.live.messages().is_none() {
        return Publishing {
            messages: None,
            api: None,
        };
    }
    let messages = hub(shared, (snapshot, takes_over), background);
    let both = bound.zip(snapshot.publish.clone());
    Publishing {
        api: both.map(|(bound, settings)| serve(bound, settings, &shared.live, &messages)),
        messages: Some(messages),
    }
}

fn has_history(snapshot: &Snapshot) -> bool {
    let publish = snapshot.publish.as_ref();
    publish.is_some_and(|publish| !publish.history.is_empty())
}

/// What delivers messages, connected to the broker.
fn hub(
    shared: &Shared,
    (snapshot, takes_over): (&Snapshot, bool),
    background: &mut JoinSet<()>,
) -> Arc<Messages> {
    let live = &shared.live;
    let process: Arc<str> = format!("{:016x}", live.instance()).into();
    let settings = snapshot.broker.as_ref();
    let has_fleet = settings.is_some_and(|one| one.kind != BrokerKind::Memory);
    let opened = settings.map(|settings| broker::open(settings, Arc::clone(&process)));
    let broker = opened.as_ref().map(|(broker, ..)| broker.clone());
    if let Some(broker) = &broker {
        shared.outlet.open(broker.clone());
    }
    let log = open_log(snapshot, &process, background);
    let (log, events) = log.unzip();
    let own = (process, Arc::clone(&snapshot.node.name));
    let messages = Messages::new(
        Arc::clone(live),
        (broker, has_fleet),
        own,
        (snapshot.publish.as_ref(), log, takes_over),
        &shared.metrics,
    );
    if let Some(events) = events {
        messages.follow_log(events, background);
    }
    messages.replay_missed(background);
    messages.start(background);
    if let Some((_, received, driver)) = opened {
        background.spawn(driver);
        messages.follow(received, background);
    }
    messages
}

fn serve(
    bound: ApiSocket,
    settings: Publish,
    live: &Arc<Live>,
    messages: &Arc<Messages>,
) -> Serving {
    let publisher = Arc::new(Publisher {
        settings,
        live: Arc::clone(live),
        messages: Arc::clone(messages),
    });
    tracing::info!(address = %bound.address(), "messages can be published");
    let (stop, stopped) = oneshot::channel();
    let server = tokio::spawn(publish::serve(bound, publisher, async {
        drop(stopped.await)
    }));
    Serving { stop, server }
}

/// The log of the history, where groups have one and the broker has logs.
fn open_log(
    snapshot: &Snapshot,
    process: &Arc<str>,
    background: &mut JoinSet<()>,
) -> Option<(HistoryLog, LogEvents)> {
    let age = History::<()>::age_max(&snapshot.publish.as_ref()?.history);
    if age.is_zero() {
        return None;
    }
    let settings = snapshot.broker.as_ref()?;
    let (log, events, driver) = broker::open_log(settings, Arc::clone(process), age)?;
    background.spawn(driver);
    Some((log, events))
}

impl Publishing {
    /// What delivers messages.
    pub(super) fn hub(&self) -> Option<Arc<Messages>> {
        self.messages.clone()
    }

    /// Answers the requests in progress and ends the API. Messages of other gateways still come.
    pub(super) async fn end(self) -> Option<Arc<Messages>> {
        let Some(serving) = self.api else {
            return self.messages;
        };
        if let Some(messages) = &self.messages {
            messages.end_watchers();
        }
        drop(serving.stop);
        if let Ok(Err(error)) = serving.server.await {
            tracing::error!(%error, "the publishing API failed");
        }
        self.messages
    }
}

/// The broker has what clients sent, and the other gateways need not wait for this one any more.
pub(super) async fn leave(messages: Option<Arc<Messages>>, outlet: &Outlet) {
    outlet.settled().await;
    if let Some(messages) = messages {
        messages.end().await;
    }
}
