//! The connections of the admin API. Their number is bounded, and a new one always finds room: the
//! oldest of the place that has most is closed for it. So connections that send nothing, or a body
//! without end, keep nobody out, and a probe is answered at once whatever others do.

use std::net::{IpAddr, Ipv6Addr};

use tokio::task::AbortHandle;

use crate::base::addr::unmapped;

/// Connections at once.
const CONNECTIONS_MAX: usize = 256;
/// Connections of one other machine at once. All programs of this machine have one address, so no
/// bound of its own holds for it.
const PER_ADDRESS_MAX: usize = 64;

/// Where a connection came from: all of an IPv6 network count as one; `None` is this machine.
type Place = Option<IpAddr>;

/// The connections that there are, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Crowd {
    seats: Vec<Seat>,
}

/// One connection.
#[derive(Debug)]
struct Seat {
    place: Place,
    task: AbortHandle,
}

impl Crowd {
    /// Takes a connection in. Ends another one where there is no room.
    pub(super) fn enter(&mut self, peer: Option<IpAddr>, task: AbortHandle) {
        self.seats.retain(|seat| !seat.task.is_finished());
        let place = place(peer);
        let of_place = self.seats.iter().filter(|seat| seat.place == place).count();
        if place.is_some() && of_place >= PER_ADDRESS_MAX {
            self.evict(place);
        } else if self.seats.len() >= CONNECTIONS_MAX {
            self.evict(self.fullest());
        }
        self.seats.push(Seat { place, task });
    }

    /// The place that most connections come from.
    fn fullest(&self) -> Place {
        let mut places: Vec<Place> = self.seats.iter().map(|seat| seat.place).collect();
        places.sort_unstable();
        let groups = places.chunk_by(|one, other| one == other);
        groups
            .max_by_key(|group| group.len())
            .and_then(|group| group[0])
    }

    /// Ends the oldest connection of a place.
    fn evict(&mut self, place: Place) {
        if let Some(index) = self.seats.iter().position(|seat| seat.place == place) {
            self.seats.remove(index).task.abort();
        }
    }
}

fn place(peer: Option<IpAddr>) -> Place {
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

    /// Lets in a connection that never ends by itself.
    fn enter(crowd: &mut Crowd, peer: &str) -> AbortHandle {
        let task = tokio::spawn(std::future::pending::<()>()).abort_handle();
        let peer = peer.parse().expect("an address");
        crowd.enter(Some(peer), task.clone());
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
    async fn i8_the_oldest_connection_of_the_place_that_has_most_goes_for_a_new_one() {
        let mut crowd = Crowd::default();
        let other = enter(&mut crowd, "10.0.0.1");
        let first = enter(&mut crowd, "::1");
        let second = enter(&mut crowd, "127.0.0.1");
        while crowd.seats.len() < CONNECTIONS_MAX {
            enter(&mut crowd, "::ffff:127.0.0.1");
        }
        let new = enter(&mut crowd, "10.0.0.2");
        assert_eq!(crowd.seats.len(), CONNECTIONS_MAX);
        assert!(ended(&first).await);
        for task in [&other, &second, &new] {
            assert!(!ended(task).await);
        }
    }

    #[tokio::test]
    async fn i8_one_address_has_a_share() {
        let mut crowd = Crowd::default();
        let first = enter(&mut crowd, "2001:db8::1");
        for number in 1..PER_ADDRESS_MAX {
            enter(&mut crowd, &format!("2001:db8::{number:x}"));
        }
        let other = enter(&mut crowd, "2001:db8:0:1::1");
        assert!(!ended(&first).await);
        enter(&mut crowd, "2001:db8::ffff");
        assert!(ended(&first).await && !ended(&other).await);
        assert_eq!(crowd.seats.len(), PER_ADDRESS_MAX + 1);
    }
}
