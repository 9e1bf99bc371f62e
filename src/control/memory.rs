//! How much memory the gateway uses and may use, looked at every second, so that it stops taking
//! clients before the kernel ends it. Sessions that live already are not touched.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use crate::config::limits::Priority;
use crate::live::Live;

/// Between looks; memory grows by what clients send in that time.
const EVERY: Duration = Duration::from_secs(1);

/// Nine tenths of what the control group allows this process; 0 if it allows anything.
pub fn allowance() -> u64 {
    limit_in(Path::new("/sys/fs/cgroup"), &own_group()).map_or(0, |limit| limit / 10 * 9)
}

/// Updates the use of memory in `live` while the gateway runs, and logs shortages.
pub async fn watch(live: Arc<Live>) {
    let group = own_group();
    let mut beat = interval(EVERY);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut short = false;
    loop {
        beat.tick().await;
        live.load.set_memory(in_use(&group));
        let limits = live.generation().edge.load;
        let now = live.load.short_of_memory(&limits, Priority::High);
        let (bytes, max) = (live.load.memory(), limits.memory_max);
        match (short, now) {
            (false, true) => tracing::error!(bytes, max, "short of memory: no client is let in"),
            (true, false) => tracing::info!(bytes, max, "there is memory again"),
            _ => {}
        }
        short = now;
    }
}

/// Bytes that count against the limit: where a control group has one, what it holds without the
/// files it has cached, which the kernel gives up first; else what of this process is in RAM.
fn in_use(group: &Path) -> u64 {
    let root = Path::new("/sys/fs/cgroup");
    let grouped = limit_in(root, group).and_then(|_| in_group(root, group));
    grouped.or_else(resident).unwrap_or(0)
}

fn in_group(root: &Path, group: &Path) -> Option<u64> {
    let folder = root.join(group);
    let current: u64 = number(&fs::read_to_string(folder.join("memory.current")).ok()?)?;
    let stat = fs::read_to_string(folder.join("memory.stat")).ok()?;
    let file = stat.lines().find_map(|line| line.strip_prefix("file "));
    Some(current.saturating_sub(number(file?)?))
}

fn resident() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let kib = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(number(kib.trim_end_matches("kB"))? * 1024)
}

/// The process's group in the unified hierarchy (cgroup v2), relative to its root.
fn own_group() -> PathBuf {
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let own = groups.lines().find_map(|line| line.strip_prefix("0::/"));
    own.unwrap_or_default().into()
}

/// The least that a group or one above it allows.
fn limit_in(root: &Path, group: &Path) -> Option<u64> {
    let limit = |group: &Path| {
        let text = fs::read_to_string(root.join(group).join("memory.max")).ok()?;
        // `max` is no limit.
        number(&text)
    };
    group.ancestors().filter_map(limit).min()
}

fn number(text: &str) -> Option<u64> {
    text.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_limit_above_a_group_counts() {
        let root = tempfile::tempdir().expect("a directory");
        let inner = root.path().join("kubepods/pod7");
        fs::create_dir_all(&inner).expect("a directory");
        let group = Path::new("kubepods/pod7");
        assert_eq!(limit_in(root.path(), group), None);
        let write =
            |path: &str, text: &str| fs::write(root.path().join(path), text).expect("a file");
        write("kubepods/pod7/memory.max", "max\n");
        assert_eq!(limit_in(root.path(), group), None);
        write("kubepods/memory.max", "2000\n");
        write("kubepods/pod7/memory.max", "5000\n");
        assert_eq!(limit_in(root.path(), group), Some(2000));
        write("kubepods/pod7/memory.current", "900\n");
        write(
            "kubepods/pod7/memory.stat",
            "anon 500\nfile 300\nkernel 100\n",
        );
        assert_eq!(in_group(root.path(), group), Some(600));
    }

    #[test]
    fn the_process_is_somewhere_in_ram() {
        let bytes = resident().expect("Linux says it");
        assert!((1 << 20..1 << 40).contains(&bytes), "{bytes}");
    }
}
