//! How much may wait in the queue of a session for its client, by its route.

use crate::base::names::RouteName;
use crate::config::snapshot::{MessageQueue, WhenFull as QueuePolicy};
use crate::io::relay::{QueueBounds, WhenFull};
use crate::proxy::session::registry::Sessions;

/// The bounds of a route, or the usual ones if it is gone.
pub(super) fn bounds_of_route(sessions: &Sessions, route: &RouteName) -> QueueBounds {
    let table = sessions.worker().live().table();
    let route = table.route(route);
    let queue = route.map_or_else(MessageQueue::default, |route| route.config.messages.queue);
    bounds(queue)
}

fn bounds(queue: MessageQueue) -> QueueBounds {
    QueueBounds {
        messages: queue.messages,
        bytes: queue.bytes,
        when_full: match queue.when_full {
            QueuePolicy::DropNew => WhenFull::DropNew,
            QueuePolicy::DropOldest => WhenFull::DropOldest,
            QueuePolicy::Close => WhenFull::Close,
        },
    }
}
