//! How much and from where: rates, networks that may and may not, priorities. Written by operators,
//! checked here; counted and decided in `core::limits`.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use prefix_trie::joint::map::JointPrefixMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::base::addr::unmapped;

/// A rate, written `20/s`, `600/m` or `1000/h`. The number is also the burst.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// At least 1.
    pub count: u32,
    /// A second, a minute or an hour.
    pub period: Duration,
}

/// The text is no rate.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a rate; write `20/s`, `600/m` or `1000/h`")]
pub struct RateError(String);

const PERIODS: [(&str, Duration); 3] = [
    ("s", Duration::from_secs(1)),
    ("m", Duration::from_secs(60)),
    ("h", Duration::from_secs(60 * 60)),
];

impl FromStr for Rate {
    type Err = RateError;

    fn from_str(text: &str) -> Result<Self, RateError> {
        let wrong = || RateError(text.to_owned());
        let (count, unit) = text.split_once('/').ok_or_else(wrong)?;
        let period = PERIODS.iter().find(|(name, _)| *name == unit.trim());
        let count = count.trim().parse().ok().filter(|count| *count > 0);
        match (count, period) {
            (Some(count), Some((_, period))) => Ok(Self {
                count,
                period: *period,
            }),
            _ => Err(wrong()),
        }
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = PERIODS.iter().find(|(_, period)| *period == self.period);
        write!(f, "{}/{}", self.count, unit.map_or("s", |(name, _)| name))
    }
}

/// How many bits of an address make its owner: an IPv6 customer has a /64 at least, and can send
/// from every address in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PrefixLengths {
    /// At most 32. Default 32.
    pub v4: u8,
    /// At most 128. Default 64.
    pub v6: u8,
}

impl Default for PrefixLengths {
    fn default() -> Self {
        Self { v4: 32, v6: 64 }
    }
}

impl PrefixLengths {
    /// The network that `address` counts for.
    pub fn network(self, address: IpAddr) -> IpNet {
        let network = match unmapped(address) {
            IpAddr::V4(v4) => Ipv4Net::new(v4, self.v4).map(IpNet::V4),
            IpAddr::V6(v6) => Ipv6Net::new(v6, self.v6).map(IpNet::V6),
        };
        network.expect("checked lengths").trunc()
    }
}

/// `limits` of a route that count sessions and handshakes; 0 and `None` are no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quotas {
    /// Live sessions of the route.
    pub sessions_max: usize,
    /// Live sessions of the route for one client's network.
    pub sessions_per_address: usize,
    /// Live sessions of the route for one principal.
    pub sessions_per_principal: usize,
    /// Handshakes of the route from one client's network.
    pub handshakes_per_address: Option<Rate>,
    /// Handshakes of the route by one principal.
    pub handshakes_per_principal: Option<Rate>,
    /// What one session may send.
    pub session: Flow,
    /// What all sessions of one principal may send together.
    pub principal: Flow,
    /// How much of that may come at once.
    pub burst: Duration,
    /// What happens beyond it.
    pub over: Over,
}

/// So much a second; 0 is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flow {
    /// Messages and control frames.
    pub messages: u32,
    /// Bytes on the wire.
    pub bytes: u64,
}

impl Flow {
    /// Whether there is a limit.
    pub fn is_limited(self) -> bool {
        self != Self::default()
    }
}

/// What happens to a session that sends too much.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum Over {
    /// It is closed with 1008.
    #[default]
    Close,
    /// Its client is not read until it is within the rate again.
    Slow,
}

/// The priority when the node comes near its limits.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum Priority {
    /// Refused from four fifths of a limit on.
    Low,
    /// Refused at the limit; at nine tenths of it where there are routes of high priority.
    #[default]
    Normal,
    /// Refused at the limit.
    High,
}

/// What the whole node takes; 0 is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NodeLimits {
    /// Bytes that responses in memory may take. Default 64 MiB.
    pub cache_memory: u64,
    /// Live sessions, including those in their handshake.
    pub sessions_max: usize,
    /// TLS handshakes with clients and upgrades that wait for their answer.
    pub handshakes_max: usize,
    /// Bytes of memory from which on new clients are refused. `None` is nine tenths of the control
    /// group's limit, if there is one.
    pub memory_max: Option<u64>,
    /// Whose network an address counts for.
    pub address_prefix: PrefixLengths,
}

/// Permitted addresses: of all networks that contain an address the longest prefix decides, and
/// between equals `deny`. An address in no network is permitted if `allow` is empty.
#[derive(Clone, Default)]
pub struct AddressRules(Option<Arc<Rules>>);

struct Rules {
    /// Sorted, for comparison and display.
    allow: Vec<IpNet>,
    deny: Vec<IpNet>,
    /// Whether it may.
    verdicts: JointPrefixMap<IpNet, bool>,
}

impl AddressRules {
    /// From what is allowed and what is not, in any order.
    pub fn new(mut allow: Vec<IpNet>, mut deny: Vec<IpNet>) -> Self {
        if allow.is_empty() && deny.is_empty() {
            return Self::default();
        }
        let mut verdicts = JointPrefixMap::new();
        for (list, verdict) in [(&mut allow, true), (&mut deny, false)] {
            list.iter_mut()
                .for_each(|network| *network = network.trunc());
            list.sort_unstable();
            list.dedup();
            for network in &*list {
                verdicts.insert(*network, verdict);
            }
        }
        Self(Some(Arc::new(Rules {
            allow,
            deny,
            verdicts,
        })))
    }

    /// Whether `address` is permitted. The cost grows with the length of an address, not with the
    /// number of networks.
    pub fn admits(&self, address: IpAddr) -> bool {
        let Some(rules) = &self.0 else { return true };
        let known = rules.verdicts.get_lpm(&IpNet::from(unmapped(address)));
        known.map_or(rules.allow.is_empty(), |(_, verdict)| *verdict)
    }

    /// Whether all addresses are permitted.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }
}

impl PartialEq for AddressRules {
    fn eq(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Some(one), Some(other)) => one.allow == other.allow && one.deny == other.deny,
            (one, other) => one.is_none() && other.is_none(),
        }
    }
}

impl Eq for AddressRules {}

/// The networks, sorted: equal rules are shown alike.
impl fmt::Debug for AddressRules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("AddressRules");
        if let Some(rules) = &self.0 {
            shown
                .field("allow", &rules.allow)
                .field("deny", &rules.deny);
        }
        shown.finish()
    }
}

#[cfg(test)]
mod tests;
