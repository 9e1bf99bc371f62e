//! The `consistent_hash` policy: a weighted ring. Only this file uses the crate of that name.
//!
//! # How a key is placed
//! All numbers are unsigned 64-bit; `le64` is a number as eight bytes, lowest first; `xxh3` is the
//! 64-bit XXH3 without a seed or secret (xxHash 0.8), ids are their UTF-8 bytes.
//!
//! 1. A member of weight w has 160 × w points on the ring: `xxh3(id ‖ le64(seq))` for seq from 0.
//!    Equal points stand in the order of their ids' bytes.
//! 2. A key is at `xxh3(key)`. Its first candidate is the member of the first point at or after
//!    that, past the largest point the smallest; the next candidates are the members of the points
//!    that follow, each once.
//!
//! A member's points depend on it alone: adding, removing or reweighting other members does not
//! move them, and a ring without a member places keys exactly as a walk that skips it.
//!
//! # How large it gets
//! A point takes 16 bytes. Up to a total weight of 26,214 (2^22 points, 64 MiB) the above holds.
//! Beyond, every member has a quarter of its points, or a sixteenth, and so on, at least one, with
//! the smallest such step that brings 160 × total weight to 2^22 or less. A change that crosses
//! such a border moves keys of other members once.

use std::hash::{Hash, Hasher};
use std::sync::OnceLock;

use consistent_hash::{Node, RingHash, StaticHashRing};
use xxhash_rust::xxh3::Xxh3;

use crate::base::names::BackendId;
use crate::config::footprint;

/// Points per unit of weight. Shares of members of weight 1 have a standard deviation of about 8 %,
/// heavier ones are nearer to theirs; of 1,000 members none is beyond 0.65 to 1.35 of its share.
const POINTS: u64 = footprint::RING_POINTS;
/// Points of a ring, but for members that would have none.
const POINTS_MAX: u64 = footprint::RING_POINTS_MAX;

/// A ring over all members, healthy or not.
pub(super) struct Ring {
    ring: StaticHashRing<'static, Id, usize, Fixed>,
    /// Expensive to compute, and used for display only.
    shares: OnceLock<Vec<f64>>,
}

impl Ring {
    pub(super) fn new(members: &[(BackendId, u32)]) -> Self {
        let weights = members.iter().map(|(_, weight)| u64::from(*weight));
        let shift = shift(weights.sum());
        let nodes = members.iter().enumerate().map(|(index, (id, weight))| {
            Node::new(Id(id.clone()))
                .value(index)
                .quantity(points(*weight, shift))
        });
        Self {
            ring: StaticHashRing::new(Fixed, nodes),
            shares: OnceLock::new(),
        }
    }

    /// Every member once, from `point` on.
    pub(super) fn order(&self, point: u64) -> impl Iterator<Item = usize> {
        self.ring
            .calc_candidates(&Point(point))
            .map(|node| node.value)
    }

    /// The part of the circle that lies before each member's points.
    pub(super) fn shares(&self) -> &[f64] {
        self.shares.get_or_init(|| {
            let mut points: Vec<_> = self.ring.nodes().iter().flat_map(points_of).collect();
            // Members are sorted by id, so the index orders equal points as the ring does.
            points.sort_unstable();
            let mut arcs = vec![0_u128; self.ring.nodes().len()];
            let mut before = points.last().map_or(0, |(point, _)| *point);
            for (point, index) in points {
                // The first arc wraps. There are 160 points at least, so none is the whole circle.
                arcs[index] += u128::from(point.wrapping_sub(before));
                before = point;
            }
            let circle = 2_f64.powi(64);
            arcs.into_iter().map(|arc| arc as f64 / circle).collect()
        })
    }
}

fn points_of(node: &Node<Id, usize>) -> impl Iterator<Item = (u64, usize)> {
    (0..node.quantity).map(|seq| (Fixed.hash_vnode(&node.key, seq), node.value))
}

/// How far the numbers of points are shifted down for members of this weight together.
fn shift(total_weight: u64) -> u32 {
    (0..u64::BITS)
        .step_by(2)
        .find(|shift| (POINTS * total_weight) >> shift <= POINTS_MAX)
        .expect("a number shifted by 62 is at most 3")
}

fn points(weight: u32, shift: u32) -> usize {
    let points = (POINTS * u64::from(weight)) >> shift;
    usize::try_from(points.max(1)).expect("at most 160,000 points for one member")
}

/// A member's name as the ring hashes it: its bytes and nothing else. (`str` would add a byte that
/// the standard library does not promise.)
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Id(BackendId);

impl Hash for Id {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write(self.0.as_bytes());
    }
}

/// Where a key is, hashed already.
struct Point(u64);

impl Hash for Point {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.0);
    }
}

/// The hash of the module's documentation. The crate's own feeds what the standard library makes of
/// a tuple, which differs between compilers.
struct Fixed;

impl RingHash for Fixed {
    fn hash_item<T: Hash>(&self, item: &T) -> u64 {
        let mut through = Through(0);
        item.hash(&mut through);
        through.finish()
    }

    fn hash_vnode<K: Hash>(&self, node_key: &K, vnode_seq: usize) -> u64 {
        let mut hasher = Xxh3::new();
        node_key.hash(&mut hasher);
        hasher.update(&(vnode_seq as u64).to_le_bytes());
        hasher.digest()
    }
}

/// Gives back the one number that a `Point` writes.
struct Through(u64);

impl Hasher for Through {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {
        unreachable!("only points are looked up");
    }

    fn write_u64(&mut self, point: u64) {
        self.0 = point;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use xxhash_rust::xxh3::xxh3_64;

    use super::*;
    use crate::core::balance::tests::members;

    /// The obvious ring: all points sorted, searched from the start.
    fn twin(members: &[(BackendId, u32)], point: u64) -> Vec<usize> {
        let mut points = Vec::new();
        for (index, (id, weight)) in members.iter().enumerate() {
            for seq in 0..160 * u64::from(*weight) {
                let bytes = [id.as_bytes(), &seq.to_le_bytes()].concat();
                points.push((xxh3_64(&bytes), id.as_str(), index));
            }
        }
        points.sort_unstable();
        let (before, after): (Vec<_>, Vec<_>) = points.iter().partition(|(at, ..)| *at < point);
        let mut order = Vec::new();
        for (_, _, index) in after.into_iter().chain(before) {
            if !order.contains(&index) {
                order.push(index);
            }
        }
        order
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn the_ring_walks_as_its_obvious_twin(
            weights in prop::collection::vec(1_u32..6, 0..8),
            points in prop::collection::vec(any::<u64>(), 1..20),
        ) {
            let members = members(&weights);
            let ring = Ring::new(&members);
            for point in points.into_iter().chain([0, u64::MAX]) {
                let order: Vec<_> = ring.order(point).collect();
                prop_assert_eq!(order, twin(&members, point));
            }
        }
    }

    #[test]
    fn a_key_on_a_point_belongs_to_it() {
        let members = members(&[1, 1, 1]);
        let ring = Ring::new(&members);
        for (point, index) in ring.ring.nodes().iter().flat_map(points_of) {
            assert_eq!(ring.order(point).next(), Some(index));
        }
    }

    #[test]
    fn shares_are_the_parts_of_the_circle() {
        let ring = Ring::new(&members(&[1, 3, 2]));
        let samples = 60_000_u64;
        let mut held = [0_u32; 3];
        for sample in 0..samples {
            let point = sample * (u64::MAX / samples);
            held[ring.order(point).next().expect("three members")] += 1;
        }
        for (share, held) in ring.shares().iter().zip(held) {
            let sampled = f64::from(held) / samples as f64;
            assert!((share - sampled).abs() < 0.002, "{share} {sampled}");
        }
        assert!((ring.shares().iter().sum::<f64>() - 1.0).abs() < 1e-12);
        assert_eq!(Ring::new(&members(&[1])).shares(), [1.0]);
        assert!(Ring::new(&[]).shares().is_empty());
    }

    #[test]
    fn the_number_of_points_is_bounded() {
        let check = |total_weight, expected| {
            assert_eq!(shift(total_weight), expected, "{total_weight}");
        };
        check(0, 0);
        check(10_000, 0);
        check(26_214, 0);
        check(26_215, 2);
        check(10_000_000, 10);
        assert_eq!(points(1, 0), 160);
        assert_eq!(points(1000, 0), 160_000);
        assert_eq!(points(1000, 10), 156);
        assert_eq!(points(1, 10), 1);
    }
}
