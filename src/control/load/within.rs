//! Which of some directories holds a path, judged by its text alone.

use std::path::{Component, Path, PathBuf};

/// The directory that holds `path`, as it is written.
pub(super) fn holder<'d>(directories: &'d [PathBuf], path: &Path) -> Option<&'d Path> {
    let climbs = path.components().any(|part| part == Component::ParentDir);
    let asked = without_dots(path);
    let mut directories = directories.iter();
    let known = directories.find(|known| asked.starts_with(without_dots(known)));
    known.filter(|_| !climbs).map(PathBuf::as_path)
}

/// The same path without its `.` components.
fn without_dots(path: &Path) -> PathBuf {
    let parts = path.components();
    parts.filter(|part| *part != Component::CurDir).collect()
}
