//! Members of upstreams that a source finds because the upstreams name something: names in DNS,
//! services of a registry. Each is a document of a backend that can be lost as one under a lease
//! can: none of them is deleted on purpose.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use crate::base::names::UpstreamName;
use crate::control::sources::mirrored::MirroredDocuments;
use crate::core::membership::{Event, Held, Key, Mirror, backend_of};

/// The lease of every member that was found.
pub const FOUND: i64 = 1;

/// What a source has of one upstream.
pub struct FoundMembers {
    /// The upstream.
    pub upstream: UpstreamName,
    /// Its members by id, each the text of its document.
    pub members: BTreeMap<String, Arc<str>>,
    /// Whether it names something that the source looks for.
    pub followed: bool,
    /// Whether all of that has been answered once: what is not among `members` is gone then.
    pub complete: bool,
}

impl MirroredDocuments {
    /// Brings members of upstreams into force.
    pub async fn bring(&mut self, all: Vec<FoundMembers>) {
        let revision = self.mirror().revision() + 1;
        let events = all.iter();
        let events: Vec<_> = events
            .flat_map(|found| events_of(self.mirror(), found, revision))
            .collect();
        if events.is_empty() {
            return;
        }
        self.take(events);
        self.progress(revision);
        self.apply().await;
    }

    /// Upstreams that have members which were found, now or in the last run.
    pub fn found_upstreams(&self) -> impl Iterator<Item = &str> {
        let found = self.mirror().present().iter();
        let found = found.filter(|(_, held)| held.lease == FOUND);
        found.filter_map(|(key, _)| backend_of(key).map(|(upstream, _)| upstream))
    }
}

/// What has changed of the members of an upstream.
fn events_of(mirror: &Mirror, found: &FoundMembers, revision: i64) -> Vec<Event> {
    let prefix = format!("backends/{}/", found.upstream);
    let present = mirror.present();
    let of_upstream = present
        .range::<str, _>((Bound::Included(&*prefix), Bound::Unbounded))
        .take_while(|(key, _)| key.starts_with(&prefix));
    let gone = of_upstream.filter(|(key, held)| {
        let named = found.members.contains_key(&key[prefix.len()..]);
        let goes = match (found.followed, held.lease == FOUND) {
            // As long as something has never been answered, what it had is not known.
            (true, true) => found.complete,
            // An upstream that names something has no other members of this source.
            (true, false) | (false, true) => true,
            (false, false) => false,
        };
        !named && goes
    });
    let gone = gone.map(|(key, held)| Event::Delete {
        key: Key::clone(key),
        revision,
        lapsed: found.followed && held.lease == FOUND,
    });
    let mut events: Vec<_> = gone.collect();
    events.extend(found.members.iter().filter_map(|(id, text)| {
        let key: Key = format!("{prefix}{id}").into();
        let same = present
            .get(&key)
            .is_some_and(|held| held.text == *text && held.lease == FOUND);
        let held = Held {
            text: Arc::clone(text),
            revision,
            lease: FOUND,
        };
        (!same).then_some(Event::Put(key, held))
    }));
    events
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::base::clock;
    use crate::core::membership::FullRead;

    fn mirror(keys: &[(&str, i64)]) -> Mirror {
        let mut mirror = Mirror::new(Duration::from_secs(600));
        let held = |lease| Held {
            text: "{}".into(),
            revision: 1,
            lease,
        };
        let keys = keys.iter();
        let documents = keys.map(|(key, lease)| (Key::from(*key), held(*lease)));
        let read = FullRead {
            cluster: 1,
            revision: 1,
            documents: documents.collect(),
        };
        mirror.read(read, clock::now());
        mirror
    }

    #[test]
    fn what_is_gone_depends_on_whether_it_is_followed_and_known() {
        let mirror = mirror(&[
            ("backends/a/found", FOUND),
            ("backends/a/key", 0),
            ("backends/ab/found", FOUND),
        ]);
        let check = |followed, complete, members: &[&str], expected: &[&str]| {
            let members = members.iter();
            let found = FoundMembers {
                upstream: "a".into(),
                members: members.map(|id| ((*id).to_owned(), "{}".into())).collect(),
                followed,
                complete,
            };
            let events = events_of(&mirror, &found, 2).into_iter();
            let shown = events.map(|event| match event {
                Event::Put(key, _) => format!("put {key}"),
                Event::Delete { key, lapsed, .. } => format!("delete {key} {lapsed}"),
            });
            assert_eq!(shown.collect::<Vec<_>>(), expected);
        };
        check(true, true, &["found"], &["delete backends/a/key false"]);
        check(
            true,
            true,
            &["new"],
            &[
                "delete backends/a/found true",
                "delete backends/a/key false",
                "put backends/a/new",
            ],
        );
        check(true, false, &[], &["delete backends/a/key false"]);
        check(false, true, &[], &["delete backends/a/found false"]);
        // A key of the same name makes way.
        check(true, true, &["found", "key"], &["put backends/a/key"]);
    }
}
