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
use crate::io::broker::{self, HistoryLog, LogEvents};
use crate::live::{Live, MessagesSetup};
use crate::proxy::worker::Shared;
use crate::publish::{self, Publisher};
use crate::telemetry::metrics::{MessageMetrics, Metrics};

/// Has workers index sessions by principal and group, where messages are published.
pub(super) fn prepare(live: &Live, snapshot: &Snapshot, metrics: &Arc<Metrics>, workers: usize) {
    let Some(settings) = &snapshot.publish else {
        return;
    };
    live.set_messages(MessagesSetup {
        bounds: GroupBounds {
            per_session: settings.groups_per_session,
            per_worker: settings.memberships_max.div_ceil(workers),
        },
        replays: (!settings.history.is_empty()).then(Arc::default),
        interest: has_broker(snapshot).then(Arc::default),
        presence: Arc::default(),
        refused: MessageMetrics::new(metrics).memberships_refused(),
    });
}

/// The publishing API while it serves, if there is one.
pub(super) struct Publishing(Option<Serving>);

struct Serving {
    messages: Arc<Messages>,
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
    let settings = snapshot.publish.clone();
    let both = bound.zip(settings);
    Publishing(both.map(|(bound, settings)| {
        serve(bound, settings, (shared, snapshot, takes_over), background)
    }))
}

fn serve(
    bound: ApiSocket,
    settings: Publish,
    (shared, snapshot, takes_over): (&Shared, &Snapshot, bool),
    background: &mut JoinSet<()>,
) -> Serving {
    let live = &shared.live;
    let process: Arc<str> = format!("{:016x}", live.instance()).into();
    let opened = has_broker(snapshot).then(|| broker::open(&snapshot.broker, Arc::clone(&process)));
    let broker = opened.as_ref().map(|(broker, ..)| broker.clone());
    let log = open_log(snapshot, &settings, &process, background);
    let (log, events) = log.unzip();
    let own = (process, Arc::clone(&snapshot.node.name));
    let messages = Messages::new(
        Arc::clone(live),
        broker,
        own,
        (&settings, log, takes_over),
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
    let publisher = Arc::new(Publisher {
        settings,
        live: Arc::clone(live),
        messages: Arc::clone(&messages),
    });
    tracing::info!(address = %bound.address(), "messages can be published");
    let (stop, stopped) = oneshot::channel();
    let server = tokio::spawn(publish::serve(bound, publisher, async {
        drop(stopped.await)
    }));
    Serving {
        messages,
        stop,
        server,
    }
}

/// The log of the history, where groups have one and the broker has logs.
fn open_log(
    snapshot: &Snapshot,
    settings: &Publish,
    process: &Arc<str>,
    background: &mut JoinSet<()>,
) -> Option<(HistoryLog, LogEvents)> {
    let age = History::<()>::age_max(&settings.history);
    if age.is_zero() {
        return None;
    }
    let (log, events, driver) = broker::open_log(&snapshot.broker, Arc::clone(process), age)?;
    background.spawn(driver);
    Some((log, events))
}

fn has_broker(snapshot: &Snapshot) -> bool {
    snapshot.broker.kind != BrokerKind::Memory
}

impl Publishing {
    /// What delivers messages.
    pub(super) fn hub(&self) -> Option<Arc<Messages>> {
        self.0.as_ref().map(|serving| Arc::clone(&serving.messages))
    }

    /// Answers the requests in progress and ends the API. Messages of other gateways still come.
    pub(super) async fn end(self) -> Option<Arc<Messages>> {
        let serving = self.0?;
        serving.messages.end_watchers();
        drop(serving.stop);
        if let Ok(Err(error)) = serving.server.await {
            tracing::error!(%error, "the publishing API failed");
        }
        Some(serving.messages)
    }
}

/// The other gateways need not wait for this one any more.
pub(super) async fn leave(messages: Option<Arc<Messages>>) {
    if let Some(messages) = messages {
        messages.end().await;
    }
}
