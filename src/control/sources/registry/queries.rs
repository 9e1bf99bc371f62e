//! The questions to a registry that run: each in a task of its own, which asks for ever.

use std::collections::{BTreeMap, BTreeSet};

use tokio::task::{AbortHandle, JoinSet};

use crate::control::sources::source::Work;

/// What runs. `Q` is what is asked for.
pub struct Queries<Q> {
    ask: Box<dyn Fn(Q) -> Work<()> + Send + Sync>,
    running: BTreeMap<Q, AbortHandle>,
    tasks: JoinSet<()>,
}

impl<Q: Clone + Ord> Queries<Q> {
    /// None yet; each will be asked so.
    pub fn new<F>(ask: impl Fn(Q) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        Self {
            ask: Box::new(move |query| Box::pin(ask(query))),
            running: BTreeMap::new(),
            tasks: JoinSet::new(),
        }
    }

    /// From now on these run.
    pub fn set(&mut self, wanted: BTreeSet<Q>) {
        self.running.retain(|query, task| {
            let stays = wanted.contains(query);
            if !stays {
                task.abort();
            }
            stays
        });
        while self.tasks.try_join_next().is_some() {}
        for query in wanted {
            if !self.running.contains_key(&query) {
                let asked = (self.ask)(query.clone());
                self.running.insert(query, self.tasks.spawn(asked));
            }
        }
    }
}
