//! Reads files that a configuration names. The name may come from someone who probes what the
//! gateway can open, so only regular files of a bounded size are read: opening a pipe would block,
//! a device may never end, and opening either can have side effects.

use std::fs::{File, Metadata, OpenOptions, metadata};
use std::io::{self, Read as _};
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _};
use std::path::Path;

use rustix::fs::OFlags;

/// Bytes of a secret's file, such as a token or a password.
pub const SECRET_BYTES_MAX: u64 = 64 << 10;
/// Bytes of a PEM file; a system's whole bundle of roots has about 256 KiB.
pub const PEM_BYTES_MAX: u64 = 4 << 20;
/// Bytes of a list: networks, users, API keys, JWKS.
pub const LIST_BYTES_MAX: u64 = 16 << 20;
/// Bytes of a whole configuration.
pub const CONFIG_BYTES_MAX: u64 = 64 << 20;

/// Reads a regular file of at most `bytes_max` bytes.
///
/// The kernel reports a size of 0 for most files under `/proc`; such a file reads as empty, so the
/// environment of a process cannot be read by this function.
///
/// # Errors
/// When the file cannot be opened, is not a regular file, or is larger.
pub fn read(path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
    // Checked before the file is opened, because opening a device can have effects.
    check(&metadata(path)?, bytes_max)?;
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(flags.bits().cast_signed())
        .open(path)?;
    read_open(file, bytes_max)
}

/// Reads an open file. Checks it again: its name may have led elsewhere a moment before.
fn read_open(file: File, bytes_max: u64) -> io::Result<Vec<u8>> {
    let found = file.metadata()?;
    check(&found, bytes_max)?;
    let mut bytes = Vec::new();
    if found.len() == 0 {
        return Ok(bytes);
    }
    // The file may grow while it is read.
    file.take(bytes_max + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > bytes_max {
        return Err(too_large(bytes_max));
    }
    Ok(bytes)
}

fn check(found: &Metadata, bytes_max: u64) -> io::Result<()> {
    let kind = found.file_type();
    let what = if kind.is_file() {
        return match found.len() > bytes_max {
            true => Err(too_large(bytes_max)),
            false => Ok(()),
        };
    } else if kind.is_dir() {
        "it is a directory"
    } else if kind.is_fifo() {
        "it is a pipe"
    } else if kind.is_socket() {
        "it is a socket"
    } else {
        "it is a device"
    };
    let message = format!("{what}, not a regular file");
    Err(io::Error::new(io::ErrorKind::InvalidInput, message))
}

fn too_large(bytes_max: u64) -> io::Error {
    let message = format!("it has more than {bytes_max} bytes");
    io::Error::new(io::ErrorKind::FileTooLarge, message)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::net::UnixListener;

    use rustix::fs::{CWD, FileType, Mode, mknodat};

    use super::*;

    fn fault(path: &Path, bytes_max: u64) -> String {
        read(path, bytes_max)
            .expect_err("it is refused")
            .to_string()
    }

    #[test]
    fn i12_only_regular_files_of_a_bounded_size_are_read() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = |name: &str| directory.path().join(name);
        fs::write(path("file"), "12345").expect("a file");
        std::os::unix::fs::symlink(path("file"), path("link")).expect("a link");
        assert_eq!(read(&path("link"), 5).expect("it is read"), b"12345");
        assert_eq!(fault(&path("file"), 4), "it has more than 4 bytes");

        let mode = Mode::from_raw_mode(0o600);
        mknodat(CWD, path("pipe"), FileType::Fifo, mode, 0).expect("a pipe");
        std::os::unix::fs::symlink(path("pipe"), path("to-pipe")).expect("a link");
        let _listener = UnixListener::bind(path("socket")).expect("a socket");
        let check = |path: &Path, what: &str| {
            let expected = format!("it is a {what}, not a regular file");
            assert_eq!(fault(path, 100), expected, "{}", path.display());
        };
        check(&path("pipe"), "pipe");
        check(&path("to-pipe"), "pipe");
        check(&path("socket"), "socket");
        check(Path::new("/dev/zero"), "device");
        check(directory.path(), "directory");
    }

    #[test]
    fn i12_a_name_that_led_to_a_file_and_leads_to_a_pipe_now_is_refused() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("pipe");
        mknodat(CWD, &path, FileType::Fifo, Mode::from_raw_mode(0o600), 0).expect("a pipe");
        let flags = OFlags::NONBLOCK.bits().cast_signed();
        let options = OpenOptions::new().read(true).custom_flags(flags).open(path);
        let refused = read_open(options.expect("opening does not block"), 100);
        refused.expect_err("it is refused");
    }

    #[test]
    fn i11_the_environment_of_the_process_is_not_read() {
        let read = read(Path::new("/proc/self/environ"), 1 << 20).expect("it reads as empty");
        assert_eq!(read, b"");
    }
}
