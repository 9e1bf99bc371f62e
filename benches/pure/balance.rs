//! A backend picked for a key, and what is built so that it can be.

use std::hint::black_box;

use sessile::base::names::BackendId;
use sessile::config::snapshot::Policy;
use sessile::core::balance::{Balancer, Members, Passed};

use crate::{Case, Work, work};

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "balance: pick by ring of 10",
        make: || pick(Policy::ConsistentHash, 10),
    },
    Case {
        name: "balance: pick by ring of 10,000",
        make: || pick(Policy::ConsistentHash, 10_000),
    },
    Case {
        name: "balance: pick by rendezvous of 10",
        make: || pick(Policy::Rendezvous, 10),
    },
    Case {
        name: "balance: pick by rendezvous of 1,000",
        make: || pick(Policy::Rendezvous, 1_000),
    },
    Case {
        name: "balance: pick by maglev of 10",
        make: || pick(Policy::Maglev, 10),
    },
    Case {
        name: "balance: pick by maglev of 10,000",
        make: || pick(Policy::Maglev, 10_000),
    },
    Case {
        name: "balance: pick by least sessions of 1,000",
        make: || pick(Policy::LeastSessions, 1_000),
    },
    Case {
        name: "balance: pick by round robin of 10,000",
        make: || pick(Policy::RoundRobin, 10_000),
    },
    Case {
        name: "balance: pick by random two of 10,000",
        make: || pick(Policy::RandomTwo, 10_000),
    },
    Case {
        name: "balance: build a ring of 10",
        make: || build(Policy::ConsistentHash, 10),
    },
    Case {
        name: "balance: build a ring of 1,000",
        make: || build(Policy::ConsistentHash, 1_000),
    },
    Case {
        name: "balance: build a maglev table of 1,000",
        make: || build(Policy::Maglev, 1_000),
    },
];

/// All may take sessions, and have as many.
struct Well(usize);

impl Members for Well {
    fn len(&self) -> usize {
        self.0
    }

    fn sessions(&self, _: usize) -> u64 {
        100
    }

    fn verdict(&self, _: usize) -> Result<(), Passed> {
        Ok(())
    }
}

fn members(count: usize) -> Vec<(BackendId, u32)> {
    let id = |index| BackendId::new(format!("backend-{index:05}"));
    (0..count).map(|index| (id(index), 1)).collect()
}

fn pick(policy: Policy, count: usize) -> Work {
    let balancer = Balancer::new(policy, None, &members(count));
    let mut turn = 0_u64;
    work(move || {
        turn = turn.wrapping_add(0x9e37_79b9_7f4a_7c15);
        balancer.pick(Some(&turn.to_be_bytes()), &Well(count), turn)
    })
}

fn build(policy: Policy, count: usize) -> Work {
    let members = members(count);
    work(move || Balancer::new(policy, None, black_box(&members)))
}
