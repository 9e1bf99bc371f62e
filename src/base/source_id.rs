//! Which source a part of the configuration comes from, and which source wins.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A source of configuration. The variants stand in the order of precedence: where several sources
/// have something under one name, the last of them wins. A source that is added takes its place in
/// this list, between the file and etcd unless it is as deliberate as a write to etcd.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum SourceId {
    /// The configuration file, with environment and flags over it.
    File,
    /// Names in DNS, which `dns` of upstreams has.
    Dns,
    /// The cluster of `[sources.kubernetes]`.
    Kubernetes,
    /// The Consul of `[sources.consul]`.
    Consul,
    /// The etcd of `[sources.etcd]`.
    Etcd,
}

impl SourceId {
    /// All of them, the weakest first.
    pub const ALL: [Self; 5] = [
        Self::File,
        Self::Dns,
        Self::Kubernetes,
        Self::Consul,
        Self::Etcd,
    ];

    /// Its name in the admin API, in metrics and in the log.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Dns => "dns",
            Self::Kubernetes => "kubernetes",
            Self::Consul => "consul",
            Self::Etcd => "etcd",
        }
    }

    /// A source of higher precedence overrides one of lower precedence by name.
    pub const fn precedence(self) -> usize {
        self as usize
    }
}

impl fmt::Display for SourceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table of precedence, as `ARCHITECTURE.md` states it.
    #[test]
    fn etcd_overrides_registries_and_those_dns_and_that_the_file() {
        let stated = [
            ("file", 0),
            ("dns", 1),
            ("kubernetes", 2),
            ("consul", 3),
            ("etcd", 4),
        ];
        let all = SourceId::ALL.map(|source| (source.as_str(), source.precedence()));
        assert_eq!(all, stated);
        assert!(
            SourceId::ALL.is_sorted(),
            "the order of variants is the order of precedence"
        );
    }
}
