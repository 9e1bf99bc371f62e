//! The election of a leader by a Lease. A gateway holds it from the renewal that the API took until
//! its own clock says that others may have taken it over. Times of other gateways are not compared
//! with the own clock: a Lease is over when it did not change for as long as it lasts.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// How long a Lease lasts without a renewal.
const LASTS: Duration = Duration::from_secs(15);
/// How long its holder writes statuses without one: less, so that no two of them do.
const WRITES: Duration = Duration::from_secs(10);
/// Letters of a holder that are compared.
const HOLDER_LEN_MAX: usize = 512;

/// What one gateway knows of the Lease.
#[derive(Debug)]
pub struct Election {
    identity: String,
    /// Holder and times as they were read, and since when they are so.
    seen: Option<(Value, Instant)>,
    until: Option<Instant>,
    /// It stands no more.
    left: bool,
}

/// What to write.
#[derive(Clone, Debug, PartialEq)]
pub enum LeaseChange {
    /// There is no Lease.
    Create(Value),
    /// In place of this one.
    Replace(Value),
}

impl Election {
    /// Without a leader so far.
    pub fn new(identity: String) -> Self {
        Self {
            identity,
            seen: None,
            until: None,
            left: false,
        }
    }

    /// Whether this gateway is the leader.
    pub fn leads(&self, now: Instant) -> bool {
        self.until.is_some_and(|until| now < until)
    }

    /// Stands no more, and leads no more.
    pub fn leave(&mut self) {
        self.left = true;
        self.until = None;
    }

    /// What to write in place of this Lease, so that another one need not wait until it is over;
    /// `None` if it is not this gateway's.
    pub fn release(&self, lease: &Value) -> Option<Value> {
        let holder = lease["spec"]["holderIdentity"].as_str();
        let mut released = lease.clone();
        released["spec"]["holderIdentity"] = "".into();
        released["spec"]["leaseDurationSeconds"] = 1.into();
        (holder == Some(&self.identity)).then_some(released)
    }

    /// What to write of the Lease, which reads so; `None` if there is none. `time` is the wall
    /// clock, for display.
    pub fn decide(
        &mut self,
        (namespace, name): (&str, &str),
        lease: Option<&Value>,
        (now, time): (Instant, &str),
    ) -> Option<LeaseChange> {
        if self.left {
            return None;
        }
        let mut new = json!({
            "holderIdentity": self.identity, "leaseDurationSeconds": LASTS.as_secs(),
            "acquireTime": time, "renewTime": time, "leaseTransitions": 0,
        });
        let object = |spec: Value, version: &Value| {
            json!({
                "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "spec": spec,
                "metadata": { "name": name, "namespace": namespace, "resourceVersion": version },
            })
        };
        let Some(lease) = lease else {
            self.until = None;
            let mut object = object(new, &Value::Null);
            object["metadata"] = json!({ "name": name, "namespace": namespace });
            return Some(LeaseChange::Create(object));
        };
        let spec = &lease["spec"];
        let holder = spec["holderIdentity"].as_str().unwrap_or_default();
        let holder = &holder[..holder.floor_char_boundary(HOLDER_LEN_MAX)];
        let said = json!([holder, spec["renewTime"], spec["leaseTransitions"]]);
        if self.seen.as_ref().is_none_or(|(seen, _)| *seen != said) {
            self.seen = Some((said, now));
        }
        let since = self.seen.as_ref().map_or(now, |(_, since)| *since);
        let transitions = spec["leaseTransitions"].as_i64().unwrap_or_default();
        if holder == self.identity {
            new["acquireTime"] = spec["acquireTime"].clone();
            new["leaseTransitions"] = transitions.into();
        } else {
            self.until = None;
            let seconds = spec["leaseDurationSeconds"].as_u64();
            let lasts = seconds.map_or(LASTS, |seconds| Duration::from_secs(seconds.min(3600)));
            if !holder.is_empty() && now.duration_since(since) < lasts {
                return None;
            }
            new["leaseTransitions"] = transitions.saturating_add(1).into();
        }
        let version = &lease["metadata"]["resourceVersion"];
        Some(LeaseChange::Replace(object(new, version)))
    }

    /// The API took what was asked for at this time.
    pub fn taken(&mut self, asked: Instant) {
        self.until = Some(asked + WRITES).filter(|_| !self.left);
    }

    /// It did not: somebody else was faster.
    pub fn refused(&mut self) {
        self.until = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock;

    const NAME: (&str, &str) = ("sessile", "lease");

    #[test]
    fn a_released_lease_is_taken_at_once() {
        let now = clock::now();
        let (mut a, mut b) = (Election::new("a".into()), Election::new("b".into()));
        let Some(LeaseChange::Create(lease)) = a.decide(NAME, None, (now, "t0")) else {
            panic!("there is none");
        };
        a.taken(now);
        assert_eq!(b.release(&lease), None, "it is another's");
        a.leave();
        assert!(!a.leads(now));
        let released = a.release(&lease).expect("it is its own");
        assert_eq!(a.decide(NAME, Some(&released), (now, "t1")), None);
        let Some(LeaseChange::Replace(taken)) = b.decide(NAME, Some(&released), (now, "t1")) else {
            panic!("it is free");
        };
        assert_eq!(taken["spec"]["holderIdentity"], "b");
        // A renewal that was on its way counts no more.
        a.taken(now);
        assert!(!a.leads(now));
    }

    #[test]
    fn one_holds_the_lease_until_it_does_not_change_any_more() {
        let start = clock::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let (mut a, mut b) = (Election::new("a".into()), Election::new("b".into()));
        let Some(LeaseChange::Create(mut lease)) = a.decide(NAME, None, (start, "t0")) else {
            panic!("there is none");
        };
        assert!(!a.leads(start), "not before the API took it");
        a.taken(start);
        assert!(a.leads(at(9)) && !a.leads(at(10)));
        lease["metadata"]["resourceVersion"] = "7".into();
        assert_eq!(b.decide(NAME, Some(&lease), (at(1), "t1")), None);
        let Some(LeaseChange::Replace(renewed)) = a.decide(NAME, Some(&lease), (at(5), "t5"))
        else {
            panic!("it is renewed");
        };
        assert_eq!(renewed["metadata"]["resourceVersion"], "7");
        assert_eq!(renewed["spec"]["acquireTime"], "t0");
        assert_eq!(renewed["spec"]["leaseTransitions"], 0);
        assert_eq!(b.decide(NAME, Some(&renewed), (at(14), "t")), None);
        assert_eq!(b.decide(NAME, Some(&renewed), (at(28), "t")), None);
        let Some(LeaseChange::Replace(other)) = b.decide(NAME, Some(&renewed), (at(29), "t"))
        else {
            panic!("it is over");
        };
        assert_eq!(other["spec"]["holderIdentity"], "b");
        assert_eq!(other["spec"]["leaseTransitions"], 1);
        b.taken(at(29));
        a.taken(at(29));
        assert_eq!(a.decide(NAME, Some(&other), (at(30), "t")), None);
        assert!(!a.leads(at(30)) && b.leads(at(30)));
        b.refused();
        assert!(!b.leads(at(30)));
    }
}
