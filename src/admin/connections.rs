//! The connections of the admin API. Their number is bounded, and a new connection is always
//! accepted: the oldest connection of the busiest address is closed for it. Connections that stay
//! silent, or send an endless body, therefore lock no client out, and probes are answered at once.

use std::net::{IpAddr, Ipv6Addr};

use tokio::task::AbortHandle;

use crate::base::addr::unmapped;

/// Most connections at once.
const CONNECTIONS_MAX: usize = 256;
/// Most connections of one remote address at once. All local programs share one address, so they
/// have no bound of their own.
const PER_ADDRESS_MAX: usize = 64;

/// The origin of a connection: an IPv6 network counts as one, `None` is this machine.
type Origin = Option<IpAddr>;

/// All open connections, oldest first.
#[derive(Debug, Default)]
pub(super) struct Connections {
    open: Vec<OpenConnection>,
}

/// One connection.
#[derive(Debug)]
struct OpenConnection {
    origin: Origin,
    task: AbortHandle,
}

impl Connections {
    /// Adds a connection, and closes another one if there is no room.
    pub(super) fn enter(&mut self, peer: Option<IpAddr>, task: AbortHandle) {
        self.open.retain(|one| !one.task.is_finished());
        let origin = origin(peer);
        let of_origin = self.open.iter().filter(|one| one.origin == origin).count();
        if origin.is_some() && of_origin >= PER_ADDRESS_MAX {
            self.evict(origin);
        } else if self.open.len() >= CONNECTIONS_MAX {
            self.evict(self.fullest());
        }
        self.open.push(OpenConnection { origin, task });
    }

    /// The origin with the most connections.
    fn fullest(&self) -> Origin {
        let mut origins: Vec<Origin> = self.open.iter().map(|one| one.origin).collect();
        origins.sort_unstable();
        let groups = origins.chunk_by(|one, other| one == other);
        groups
            .max_by_key(|group| group.len())
            .and_then(|group| group[0])
    }

    /// Closes the oldest connection of an origin.
    fn evict(&mut self, origin: Origin) {
        if let Some(index) = self.open.iter().position(|one| one.origin == origin) {
            self.open.remove(index).task.abort();
        }
    }
}

fn origin(peer: Option<IpAddr>) -> Origin {
    let peer = unmapped(peer?);
    match peer {
        _ if peer.is_loopback() => None,
        IpAddr::V4(_) => Some(peer),
        IpAddr::V6(v6) => {
            let network = u128::from(v6) & !u128::from(u64::MAX);
            Some(IpAddr::V6(Ipv6Addr::from(network)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Adds a connection that never ends by itself.
    fn enter(connections: &mut Connections, peer: &str) -> AbortHandle {
        let task = tokio::spawn(std::future::pending::<()>()).abort_handle();
        let peer = peer.parse().expect("an address");
        connections.enter(Some(peer), task.clone());
        task
    }

    async fn ended(task: &AbortHandle) -> bool {
        // An aborted task ends at its next turn.
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        task.is_finished()
    }

    #[tokio::test]
    async fn i8_the_oldest_connection_of_the_origin_that_has_most_goes_for_a_new_one() {
        let mut connections = Connections::default();
        let other = enter(&mut connections, "10.0.0.1");
        let first = enter(&mut connections, "::1");
        let second = enter(&mut connections, "127.0.0.1");
        while connections.open.len() < CONNECTIONS_MAX {
            enter(&mut connections, "::ffff:127.0.0.1");
        }
        let new = enter(&mut connections, "10.0.0.2");
        assert_eq!(connections.open.len(), CONNECTIONS_MAX);
        assert!(ended(&first).await);
        for task in [&other, &second, &new] {
            assert!(!ended(task).await);
        }
    }

    #[tokio::test]
    async fn i8_one_address_has_a_share() {
        let mut connections = Connections::default();
        let first = enter(&mut connections, "2001:db8::1");
        for number in 1..PER_ADDRESS_MAX {
            enter(&mut connections, &format!("2001:db8::{number:x}"));
        }
        let other = enter(&mut connections, "2001:db8:0:1::1");
        assert!(!ended(&first).await);
        enter(&mut connections, "2001:db8::ffff");
        assert!(ended(&first).await && !ended(&other).await);
        assert_eq!(connections.open.len(), PER_ADDRESS_MAX + 1);
    }
}
