//! Requests for a URI that is not stored: the first one goes to the backend, the others wait for
//! what comes of it.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;

/// Requests under way.
#[derive(Debug, Default)]
pub struct Flights {
    by_uri: Mutex<HashMap<Box<str>, watch::Receiver<()>>>,
    waiting: AtomicUsize,
}

/// The request that goes to the backend. Those that wait go on when it is dropped.
#[derive(Debug)]
pub struct Flight {
    flights: Arc<Flights>,
    uri: Box<str>,
    _waiters: watch::Sender<()>,
}

/// Waits for the response to another request.
#[derive(Debug)]
pub struct Waiter {
    over: watch::Receiver<()>,
    flights: Arc<Flights>,
}

impl Flights {
    /// Becomes the request that goes to the backend.
    ///
    /// # Errors
    /// When another one does; what it comes to can be waited for.
    pub fn join(self: &Arc<Self>, uri: &str) -> Result<Flight, Waiter> {
        let mut flights = self.by_uri.lock().unwrap_or_else(PoisonError::into_inner);
        match flights.entry(uri.into()) {
            Entry::Occupied(known) => {
                self.waiting.fetch_add(1, Ordering::Relaxed);
                Err(Waiter {
                    over: known.get().clone(),
                    flights: Arc::clone(self),
                })
            }
            Entry::Vacant(place) => {
                let (sender, receiver) = watch::channel(());
                place.insert(receiver);
                Ok(Flight {
                    flights: Arc::clone(self),
                    uri: uri.into(),
                    _waiters: sender,
                })
            }
        }
    }

    /// Requests that wait.
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }
}

impl Waiter {
    /// Waits until the other request is over, or for this long.
    pub async fn wait(mut self, most: Duration) {
        // It never changes: the sender only goes.
        let _ = timeout(most, self.over.changed()).await;
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        self.flights.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        let flights = self.flights.by_uri.lock();
        flights
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&self.uri);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn others_wait_until_the_first_is_over() {
        let flights = Arc::<Flights>::default();
        let first = flights.join("a").expect("the first");
        assert!(flights.join("b").is_ok(), "another URI");
        let waiter = flights.join("a").expect_err("it waits");
        assert_eq!(flights.waiting(), 1);
        let waits = tokio::spawn(waiter.wait(Duration::from_secs(60)));
        drop(first);
        waits.await.expect("it goes on");
        assert_eq!(flights.waiting(), 0);
        assert!(flights.join("a").is_ok(), "nothing is left behind");
        assert!(flights.by_uri.lock().expect("a lock").is_empty());
    }

    #[tokio::test]
    async fn a_wait_ends_at_its_time() {
        let flights = Arc::<Flights>::default();
        let _first = flights.join("a").expect("the first");
        let waiter = flights.join("a").expect_err("it waits");
        waiter.wait(Duration::from_millis(1)).await;
        assert_eq!(flights.waiting(), 0);
    }
}
