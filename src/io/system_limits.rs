//! Limits of the system and of this process that a gateway with many sessions meets.

use std::fs;
use std::path::Path;
use std::str::FromStr;

use rustix::process::{Resource, getrlimit};

/// Limits as they are now; what cannot be read is `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SystemLimits {
    /// Descriptors that this process may have open (`RLIMIT_NOFILE`); `None` also if there is no
    /// limit.
    pub open_files: Option<u64>,
    /// Connections that may wait to be accepted at one socket (`net.core.somaxconn`).
    pub accept_queue: Option<u64>,
    /// Local ports for connections to one backend address (`net.ipv4.ip_local_port_range`).
    pub ports: Option<u64>,
    /// Connections that the firewall follows, and how many it can
    /// (`net.netfilter.nf_conntrack_count` and `nf_conntrack_max`).
    pub tracked: Option<(u64, u64)>,
}

impl SystemLimits {
    /// Reads them.
    pub fn read() -> Self {
        Self {
            open_files: getrlimit(Resource::Nofile).current,
            ..Self::below(Path::new("/proc/sys"))
        }
    }

    fn below(root: &Path) -> Self {
        let count = number(root, "net/netfilter/nf_conntrack_count");
        let max = number(root, "net/netfilter/nf_conntrack_max");
        Self {
            open_files: None,
            accept_queue: number(root, "net/core/somaxconn"),
            ports: ports(root),
            tracked: count.zip(max.filter(|max| *max > 0)),
        }
    }
}

fn number<T: FromStr>(root: &Path, name: &str) -> Option<T> {
    let text = fs::read_to_string(root.join(name)).ok()?;
    text.trim().parse().ok()
}

fn ports(root: &Path) -> Option<u64> {
    let text = fs::read_to_string(root.join("net/ipv4/ip_local_port_range")).ok()?;
    let mut ends = text.split_whitespace().map(str::parse::<u64>);
    let (first, last) = (ends.next()?.ok()?, ends.next()?.ok()?);
    last.checked_sub(first).map(|more| more + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_read_where_the_system_tells_them() {
        let folder = tempfile::tempdir().expect("a folder");
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().expect("a folder")).expect("folders");
            fs::write(path, text).expect("a file");
        };
        assert_eq!(SystemLimits::below(folder.path()), SystemLimits::default());
        write("net/core/somaxconn", "4096\n");
        write("net/ipv4/ip_local_port_range", "32768\t60999\n");
        write("net/netfilter/nf_conntrack_count", "7\n");
        let limits = SystemLimits::below(folder.path());
        assert_eq!(
            (limits.accept_queue, limits.ports),
            (Some(4096), Some(28_232))
        );
        assert_eq!(limits.tracked, None, "one of the two is missing");
        write("net/netfilter/nf_conntrack_max", "262144\n");
        let limits = SystemLimits::below(folder.path());
        assert_eq!(limits.tracked, Some((7, 262_144)));
        for text in ["60999 32768", "1", "a b", ""] {
            write("net/ipv4/ip_local_port_range", text);
            assert_eq!(SystemLimits::below(folder.path()).ports, None, "{text:?}");
        }
    }

    #[test]
    fn this_process_has_limits() {
        let limits = SystemLimits::read();
        assert!(limits.accept_queue.is_some_and(|queue| queue > 0));
        assert!(limits.ports.is_some_and(|ports| ports > 0));
    }
}
