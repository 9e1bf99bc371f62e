//! Directories whose files the gateway serves: they exist, and hold nothing that it reads itself.

use std::fs;
use std::path::{Path, PathBuf};

use crate::config::diagnostic::{Diagnostic, Severity};
use crate::config::layers::{Origin, Part};
use crate::config::snapshot::{Action, Snapshot};
use crate::config::span::KeyPath;

/// Whether the files of this directory may be served; not those beside the configuration, which
/// holds secrets or names them. Of a document none may, and what it names is not looked at.
pub(super) fn directory(path: &Path, configuration: &Path, may: bool) -> Result<(), String> {
    if !may {
        return Err("only the configuration file may name a directory to serve".to_owned());
    }
    let shown = path.display();
    let real = fs::canonicalize(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => format!("there is no directory {shown}"),
        kind => format!("cannot open {shown}: {kind}"),
    })?;
    if !real.is_dir() {
        return Err(format!("{shown} is not a directory"));
    }
    match holds(&real, configuration) {
        true => Err(format!(
            "{shown} holds the configuration file; give what is served a directory of its own"
        )),
        false => Ok(()),
    }
}

/// Warns of files that the gateway reads, such as keys, and that a route shows to clients.
pub(super) fn warnings(origin: &Origin, snapshot: &Snapshot, files: &[PathBuf]) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    for (index, route) in snapshot.routes.iter().enumerate() {
        let Action::Static(served, _) = &route.action else {
            continue;
        };
        let Ok(real) = fs::canonicalize(&served.directory) else {
            continue;
        };
        for file in files.iter().filter(|file| holds(&real, file)) {
            let steps = ["routes", &index.to_string(), "static", "dir"];
            let key = KeyPath(steps.iter().map(ToString::to_string).collect());
            let message = format!(
                "clients can read {}, which the gateway reads",
                file.display()
            );
            let help = Some("move it out of the directory that is served".to_owned());
            found.push(origin.report(Severity::Warning, &key, Part::Value, message, help));
        }
    }
    found
}

fn holds(directory: &Path, file: &Path) -> bool {
    fs::canonicalize(file).is_ok_and(|file| file.starts_with(directory))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i11_a_directory_with_the_configuration_is_not_served() {
        let temporary = tempfile::tempdir().expect("a directory");
        let path = |name: &str| temporary.path().join(name);
        fs::create_dir(path("site")).expect("a directory");
        fs::write(path("gateway.toml"), "").expect("a file");
        let check = |name: &str| directory(&path(name), &path("gateway.toml"), true);
        assert_eq!(check("site"), Ok(()));
        for (name, expected) in [
            ("site/..", "holds the configuration file"),
            ("absent", "there is no directory"),
            ("gateway.toml", "is not a directory"),
        ] {
            let fault = check(name).expect_err("it is refused");
            assert!(fault.contains(expected), "{fault}");
        }
        std::os::unix::fs::symlink(path("gateway.toml"), path("site/link")).expect("a link");
        let through = directory(&path("site"), &path("site/link"), true);
        assert_eq!(through, Ok(()), "the file itself is elsewhere");
        let fault = directory(&path("site"), &path("gateway.toml"), false);
        assert!(fault.is_err_and(|why| why.starts_with("only the configuration file")));
    }
}
