//! Opens the broker that the configuration names.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use crate::config::snapshot::{self, BrokerKind};
use crate::core::messages::topic::Topic;
#[cfg(feature = "redis")]
use crate::io::broker::history_log::log_ends;
use crate::io::broker::history_log::{HistoryLog, LogDriver, LogEvents};
use crate::io::broker::{Broker, DriverEnd, Outgoing, Received, ReceivedStream, ends};

/// Runs until the last [`Broker`] is dropped.
pub type Driver = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The broker, the stream of what it carries, and the task that drives it. `node` is the id of this
/// process, under which the broker's own tools show it.
///
/// `[broker]` was checked, so that it names only kinds that this build has.
pub fn open(settings: &snapshot::Broker, node: Arc<str>) -> (Broker, ReceivedStream, Driver) {
    let (broker, received, end) = ends();
    let driver: Driver = match settings.kind {
        BrokerKind::Memory => Box::pin(memory(end)),
        #[cfg(feature = "kafka")]
        BrokerKind::Kafka => Box::pin(super::kafka::drive(end, settings.clone(), node)),
        #[cfg(feature = "nats")]
        BrokerKind::Nats => {
            let connect = super::nats::Nats::new(settings.clone(), node);
            Box::pin(super::drive::drive(end, settings.clone(), connect))
        }
        #[cfg(feature = "rabbitmq")]
        BrokerKind::RabbitMq => {
            let connect = super::rabbitmq::RabbitMq::new(settings.clone(), node);
            Box::pin(super::drive::drive(end, settings.clone(), connect))
        }
        #[cfg(feature = "redis")]
        BrokerKind::Redis => Box::pin(super::redis::drive(end, settings.clone(), node)),
        #[allow(unreachable_patterns, reason = "not in a build with all features")]
        kind => {
            drop(node);
            unreachable!("validation refuses {kind}, for which this build has no driver");
        }
    };
    (broker, received, driver)
}

/// The log of a broker, whose entries are kept for `age`; `None` if this kind has none.
pub fn open_log(
    settings: &snapshot::Broker,
    node: Arc<str>,
    age: Duration,
) -> Option<(HistoryLog, LogEvents, LogDriver)> {
    match settings.kind {
        #[cfg(feature = "redis")]
        BrokerKind::Redis => {
            let (log, events, end) = log_ends(age);
            let driver = super::redis::log::drive(end, settings.clone(), node);
            Some((log, events, Box::pin(driver)))
        }
        _ => {
            drop((node, age));
            None
        }
    }
}

/// A gateway alone. Its own messages go nowhere, since the hub delivers them to the sessions of the
/// gateway; what is published under a name comes back if the name is wanted.
async fn memory(mut end: DriverEnd) {
    end.status.send_modify(|status| {
        status.connected = true;
        status.connects = 1;
    });
    let mut wanted = end.wanted.take_all();
    while let Some(message) = end.outgoing.recv().await {
        for (topic, is_wanted) in end.wanted.take_changes() {
            match is_wanted {
                true => wanted.insert(topic),
                false => wanted.remove(&topic),
            };
        }
        let Outgoing { topic, payload, .. } = &message;
        if matches!(topic, Topic::Foreign(_)) && wanted.contains(topic) {
            end.incoming.pass_on(Received {
                topic: topic.clone(),
                payload: payload.clone(),
            });
        }
        let _ = message.confirm.send(Ok(()));
    }
}
