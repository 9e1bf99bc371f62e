//! The keys below the prefix, beside the members that were found, as everything that Consul has.

use std::collections::BTreeMap;

use crate::config::consul_service::ConsulService;
use crate::control::sources::mirrored::members::FOUND;
use crate::control::sources::registry::CLUSTER;
use crate::core::consul::Pair;
use crate::core::membership::{FullRead, Held, Key, Mirror, backend_of};
use crate::core::services::Services;

/// The lease of a key that a session of Consul holds.
const HELD: i64 = 2;

/// Documents of keys as Consul has them. Keys of backends do not count where the upstream names a
/// service: its members are those of the service.
pub(super) fn documents(pairs: &[Pair], services: &Services<ConsulService>) -> BTreeMap<Key, Held> {
    let followed = |key: &str| backend_of(key).is_some_and(|(upstream, _)| services.has(upstream));
    let pairs = pairs.iter().filter(|pair| !followed(&pair.key));
    let documents = pairs.map(|pair| {
        let held = Held {
            text: pair.text.as_str().into(),
            revision: pair.index,
            lease: if pair.held { HELD } else { 0 },
        };
        (Key::from(pair.key.as_str()), held)
    });
    documents.collect()
}

/// These documents and the members that were found.
pub(super) fn full_read(mut documents: BTreeMap<Key, Held>, mirror: &Mirror) -> FullRead {
    let found = mirror.present().iter();
    let found = found.filter(|(_, held)| held.lease == FOUND);
    for (key, held) in found {
        let entry = documents.entry(Key::clone(key));
        entry.or_insert_with(|| held.clone());
    }
    FullRead {
        cluster: CLUSTER,
        revision: mirror.revision() + 1,
        documents,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::base::clock;

    fn pair(key: &str, held: bool) -> Pair {
        Pair {
            key: key.to_owned(),
            text: "{}".to_owned(),
            index: 7,
            held,
        }
    }

    #[test]
    fn members_that_were_found_stay_beside_keys_and_keys_add_none_to_them() {
        let mut services = Services::new(8);
        let chat: ConsulService = "chat".parse().expect("a service");
        services.follow([("chat".into(), chat)].into());
        let pairs = [
            pair("routes/all", false),
            pair("backends/chat/key", false),
            pair("backends/other/key", true),
        ];
        let documents = documents(&pairs, &services);
        let leases: Vec<_> = documents
            .iter()
            .map(|(key, held)| (&**key, held.lease, held.revision))
            .collect();
        let expected = [("backends/other/key", HELD, 7), ("routes/all", 0, 7)];
        assert_eq!(leases, expected);
        let mut mirror = Mirror::new(Duration::ZERO);
        let found = Held {
            text: "{}".into(),
            revision: 1,
            lease: FOUND,
        };
        let known = FullRead {
            cluster: CLUSTER,
            revision: 5,
            documents: [("backends/chat/a@n".into(), found)].into(),
        };
        mirror.read(known, clock::now());
        let read = full_read(documents, &mirror);
        assert_eq!((read.cluster, read.revision), (CLUSTER, 6));
        let keys: Vec<_> = read.documents.keys().map(|key| &**key).collect();
        assert_eq!(
            keys,
            ["backends/chat/a@n", "backends/other/key", "routes/all"]
        );
    }
}
