//! Core dumps hold the keys of every TLS connection and what clients sent.

use std::io;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Lets the system write no core file of this process. Collectors that the kernel pipes core dumps
/// to, such as systemd-coredump, see the limit and honour it.
///
/// # Errors
/// The system's own.
pub fn forbid() -> io::Result<()> {
    let Rlimit { maximum, .. } = getrlimit(Resource::Core);
    let none = Rlimit {
        current: Some(0),
        maximum,
    };
    Ok(setrlimit(Resource::Core, none)?)
}
