//! The table of file descriptors. The threads of a process share one. Each time that it doubles,
//! the kernel makes the calling worker wait for all other threads, which stalls all its sessions
//! for 10 to 18 ms. It is therefore extended once, at the start, to its maximum size.

use std::fs::File;
use std::io;

use rustix::io::fcntl_dupfd_cloexec;
use rustix::process::{Resource, getrlimit};

/// Where the limit is higher the table grows by itself beyond this. It takes 8 bytes a descriptor:
/// 4 MiB.
const SIZE_MAX: u64 = 512 * 1024;

/// Extends the table to what the limit on open files allows, and answers for how many descriptors
/// there is room.
///
/// # Errors
/// When the system refuses it; the table then grows by itself.
pub fn extend_table() -> io::Result<u64> {
    let limit = getrlimit(Resource::Nofile).current;
    let size = limit.unwrap_or(u64::MAX).min(SIZE_MAX);
    let highest = size.saturating_sub(1);
    let null = File::open("/dev/null")?;
    let highest = i32::try_from(highest).unwrap_or(i32::MAX);
    // The table stays extended when the descriptor is closed.
    drop(fcntl_dupfd_cloexec(&null, highest)?);
    Ok(size)
}
