//! Which backends go first when an upstream shrinks: those with the fewest sessions, of zones that
//! have the most backends.

use std::collections::BTreeMap;

/// A backend that may go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaving<'b> {
    /// Its id.
    pub id: &'b str,
    /// Its zone.
    pub zone: Option<&'b str>,
    /// Live on it, of all gateways that are known.
    pub sessions: u64,
    /// It takes no sessions: it goes before those that do.
    pub unwell: bool,
}

/// The places of `count` backends, the first to go first; all of them if there are fewer.
/// Deterministic, so that gateways that know the same choose alike.
pub fn choose(backends: &[Leaving<'_>], count: usize) -> Vec<usize> {
    let mut in_zone: BTreeMap<Option<&str>, usize> = BTreeMap::new();
    let mut by_load: BTreeMap<(bool, u64), Vec<usize>> = BTreeMap::new();
    for (place, one) in backends.iter().enumerate() {
        *in_zone.entry(one.zone).or_default() += 1;
        by_load
            .entry((!one.unwell, one.sessions))
            .or_default()
            .push(place);
    }
    let mut chosen = Vec::new();
    for places in by_load.into_values() {
        // Those with equal load, by zone and id; the zone with the most backends gives one.
        let mut zones: BTreeMap<Option<&str>, Vec<usize>> = BTreeMap::new();
        for place in places {
            zones.entry(backends[place].zone).or_default().push(place);
        }
        for places in zones.values_mut() {
            places.sort_by(|one, other| backends[*other].id.cmp(backends[*one].id));
        }
        while chosen.len() < count {
            let fullest = zones.iter().filter(|(_, places)| !places.is_empty());
            let fullest = fullest.max_by(|(one, _), (other, _)| {
                in_zone[*one].cmp(&in_zone[*other]).then(other.cmp(one))
            });
            let Some(zone) = fullest.map(|(zone, _)| *zone) else {
                break;
            };
            let place = zones.get_mut(&zone).and_then(Vec::pop);
            chosen.extend(place);
            if let Some(left) = in_zone.get_mut(&zone) {
                *left -= 1;
            }
        }
    }
    chosen
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn leaving<'b>(id: &'b str, zone: &'b str, sessions: u64, unwell: bool) -> Leaving<'b> {
        Leaving {
            id,
            zone: (!zone.is_empty()).then_some(zone),
            sessions,
            unwell,
        }
    }

    #[test]
    fn those_with_the_fewest_sessions_go_first_and_zones_stay_even() {
        let check = |backends: &[Leaving<'_>], count, expected: &[&str]| {
            let found = choose(backends, count);
            let found: Vec<_> = found.iter().map(|place| backends[*place].id).collect();
            assert_eq!(found, expected);
        };
        let plain = [
            leaving("a", "", 9, false),
            leaving("b", "", 3, false),
            leaving("c", "", 5, false),
        ];
        check(&plain, 2, &["b", "c"]);
        check(&plain, 9, &["b", "c", "a"]);
        check(&plain, 0, &[]);
        check(&[], 2, &[]);
        let unwell = [plain[0].clone(), leaving("d", "", 100, true)];
        check(&unwell, 1, &["d"]);
        let zones = [
            leaving("a1", "a", 0, false),
            leaving("b1", "b", 0, false),
            leaving("b2", "b", 0, false),
            leaving("b3", "b", 0, false),
            leaving("c1", "c", 7, false),
        ];
        check(&zones, 4, &["b1", "b2", "a1", "b3"]);
    }

    proptest! {
        #[test]
        fn as_many_as_asked_each_once_in_the_order_of_load(
            loads in prop::collection::vec((0_u64..4, any::<bool>(), 0_u8..3), 0..40),
            count in 0_usize..50,
        ) {
            let ids: Vec<_> = (0..loads.len()).map(|place| format!("b{place:02}")).collect();
            let zones = ["", "a", "b"];
            let backends: Vec<_> = ids.iter().zip(&loads).map(|(id, (sessions, unwell, zone))| {
                leaving(id, zones[usize::from(*zone)], *sessions, *unwell)
            }).collect();
            let chosen = choose(&backends, count);
            prop_assert_eq!(chosen.len(), count.min(backends.len()));
            let key = |place: &usize| (!backends[*place].unwell, backends[*place].sessions);
            prop_assert!(chosen.is_sorted_by_key(key));
            let mut once = chosen.clone();
            once.sort_unstable();
            once.dedup();
            prop_assert_eq!(once.len(), chosen.len());
            prop_assert_eq!(&chosen, &choose(&backends, count));
        }
    }
}
