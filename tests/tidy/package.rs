//! The Debian package: it is built from this binary, and dpkg installs, upgrades, removes and
//! purges it in a root of its own.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{check, root};

/// Runs it; both its outputs.
#[track_caller]
fn run(command: &mut Command) -> String {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let printed = [output.stdout, output.stderr].concat();
    let printed = String::from_utf8_lossy(&printed).into_owned();
    assert!(output.status.success(), "{command:?}: {printed}");
    printed
}

/// Builds the package under this version.
fn build(version: &str, folder: &Path) -> PathBuf {
    let mut command = Command::new(root().join("deploy/debian/build"));
    command.arg(env!("CARGO_BIN_EXE_sessile")).arg(folder);
    command
        .env("SESSILE_VERSION", version)
        .env("SESSILE_COMPRESSION", "none");
    PathBuf::from(run(&mut command).trim())
}

/// A root directory with an empty database of dpkg's.
struct Root(tempfile::TempDir);

impl Root {
    fn new() -> Self {
        let root = Self(tempfile::tempdir().unwrap());
        for folder in ["info", "updates", "triggers"] {
            fs::create_dir_all(root.at("var/lib/dpkg").join(folder)).unwrap();
        }
        fs::create_dir(root.at("etc")).unwrap();
        for (file, text) in [
            ("var/lib/dpkg/status", ""),
            ("etc/passwd", "root:x:0:0:root:/root:/bin/sh\n"),
            ("etc/group", "root:x:0:\n"),
        ] {
            fs::write(root.at(file), text).unwrap();
        }
        root
    }

    fn at(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    fn text(&self, path: &str) -> String {
        fs::read_to_string(self.at(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    /// dpkg as an unattended upgrade runs it. What the package depends on is not in this root.
    fn dpkg(&self, arguments: &[&str]) -> String {
        let mut command = Command::new("fakeroot");
        command.args([
            "dpkg",
            "--force-script-chrootless",
            "--force-depends",
            "--force-confold",
        ]);
        command.arg("--root").arg(self.0.path()).args(arguments);
        command.env(
            "PATH",
            "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        );
        run(&mut command)
    }

    /// Files of the package, all but those of dpkg and of the user database.
    fn files(&self) -> Vec<String> {
        let mut command = Command::new("find");
        command
            .arg(self.0.path())
            .args(["-type", "f", "-not", "-path", "*/var/lib/dpkg/*"]);
        let found = run(command.args(["-printf", "%P\n"]));
        let own = found.lines().filter(|path| !is_of_users(path));
        own.map(str::to_owned).collect()
    }
}

fn is_of_users(path: &str) -> bool {
    let names = [
        "etc/passwd",
        "etc/group",
        "etc/shadow",
        "etc/gshadow",
        "etc/.pwd.lock",
    ];
    names.iter().any(|name| path.trim_end_matches('-') == *name)
}

const CONFIGURATION: &str = "etc/sessile/gateway.toml";

#[test]
fn the_package_is_installed_upgraded_removed_and_purged() {
    let folder = tempfile::tempdir().unwrap();
    let root = Root::new();
    let first = build("1.0-1", folder.path());
    root.dpkg(&["--install", first.to_str().unwrap()]);
    for path in [
        "usr/bin/sessile",
        "usr/lib/systemd/system/sessile-register@.service",
        "usr/share/man/man1/sessile.1.gz",
        "usr/share/man/man1/sessile-doctor.1.gz",
        "usr/share/bash-completion/completions/sessile",
        "usr/share/zsh/vendor-completions/_sessile",
        "usr/share/fish/vendor_completions.d/sessile.fish",
        "usr/share/doc/sessile/changelog.gz",
        "usr/share/doc/sessile/copyright",
        "usr/share/sessile/trusted-proxies/refresh",
    ] {
        assert!(root.at(path).is_file(), "{path}");
    }
    let version = run(Command::new(root.at("usr/bin/sessile")).arg("--version"));
    assert!(version.contains(env!("CARGO_PKG_VERSION")), "{version}");
    assert!(root.text("etc/passwd").contains("\nsessile:x:"), "a user");
    let mode = fs::metadata(root.at("etc/sessile"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o750, "keys may lie there");
    let wanted = root.at("etc/systemd/system/multi-user.target.wants/sessile.service");
    assert!(wanted.is_symlink(), "it starts with the machine");
    check(&root.at(CONFIGURATION)).unwrap_or_else(|fault| panic!("{fault}"));

    // An upgrade replaces the program and leaves the operator's configuration.
    let own = root.text(CONFIGURATION) + "# mine\n";
    fs::write(root.at(CONFIGURATION), &own).unwrap();
    let before = fs::metadata(root.at("usr/bin/sessile")).unwrap().ino();
    let second = build("1.1-1", folder.path());
    root.dpkg(&["--install", second.to_str().unwrap()]);
    assert_ne!(
        fs::metadata(root.at("usr/bin/sessile")).unwrap().ino(),
        before
    );
    assert_eq!(root.text(CONFIGURATION), own);
    assert!(
        root.text("var/lib/dpkg/status")
            .contains("\nVersion: 1.1-1\n")
    );

    root.dpkg(&["--remove", "sessile"]);
    assert_eq!(root.files(), [CONFIGURATION], "only that is left");
    assert!(!wanted.is_symlink());
    fs::create_dir_all(root.at("var/lib/private/sessile")).unwrap();
    fs::write(root.at("var/lib/private/sessile/members"), "").unwrap();
    root.dpkg(&["--purge", "sessile"]);
    assert_eq!(root.files(), Vec::<String>::new());
    assert!(!root.at("var/lib/private/sessile").exists());
}

#[test]
fn the_packages_units_are_those_of_deploy_with_the_program_at_debians_place() {
    let folder = tempfile::tempdir().unwrap();
    let package = build("1.0-1", folder.path());
    let tree = folder.path().join("tree");
    run(Command::new("dpkg-deb").arg("-R").args([&package, &tree]));
    for unit in ["sessile.service", "sessile-register@.service"] {
        let ours = fs::read_to_string(root().join("deploy").join(unit)).unwrap();
        let packed = tree.join("usr/lib/systemd/system").join(unit);
        let packed = fs::read_to_string(packed).unwrap();
        assert_eq!(
            packed,
            ours.replace("/usr/local/bin/sessile", "/usr/bin/sessile")
        );
        assert!(packed.contains("ExecStart=/usr/bin/sessile "), "{unit}");
    }
    let conffiles = fs::read_to_string(tree.join("DEBIAN/conffiles")).unwrap();
    assert_eq!(conffiles.trim(), format!("/{CONFIGURATION}"));
    let control = fs::read_to_string(tree.join("DEBIAN/control")).unwrap();
    let depends = control
        .lines()
        .find_map(|line| line.strip_prefix("Depends: "));
    assert!(
        depends.is_some_and(|list| list.contains("libc6 (>= ")),
        "{control}"
    );
    run(Command::new("md5sum")
        .args(["--check", "--quiet", "DEBIAN/md5sums"])
        .current_dir(&tree));
}

/// What a script of the package does on a machine where systemd runs.
fn orders(script: &str, arguments: &[&str]) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let stubs = folder.path().join("stubs");
    fs::create_dir(&stubs).unwrap();
    let log = folder.path().join("log");
    fs::write(&log, "").unwrap();
    for name in ["systemctl", "systemd-sysusers", "chgrp", "chmod"] {
        let stub = stubs.join(name);
        fs::write(
            &stub,
            format!("#!/bin/sh\necho {name} \"$@\" >>{}\n", log.display()),
        )
        .unwrap();
        fs::set_permissions(&stub, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let text = fs::read_to_string(root().join("deploy/debian").join(script)).unwrap();
    // The stubs' folder exists, as systemd's does where it runs.
    let text = text.replace("/run/systemd/system", &stubs.display().to_string());
    let path = folder.path().join(script);
    fs::write(&path, text).unwrap();
    let search = format!("{}:/usr/bin:/bin", stubs.display());
    run(Command::new("sh")
        .arg(&path)
        .args(arguments)
        .env("PATH", search)
        .env_remove("DPKG_ROOT"));
    let log = fs::read_to_string(&log).unwrap();
    let orders = log
        .lines()
        .filter_map(|line| line.strip_prefix("systemctl "));
    orders.map(str::to_owned).collect()
}

#[test]
fn an_upgrade_hands_the_sessions_over_and_stops_nothing() {
    let service = "sessile.service";
    assert_eq!(orders("prerm", &["upgrade", "1.1-1"]), Vec::<String>::new());
    let upgraded = orders("postinst", &["configure", "1.0-1"]);
    let active = format!("is-active --quiet {service}");
    assert_eq!(
        upgraded,
        ["daemon-reload", &active, &format!("reload {service}")]
    );
    let installed = orders("postinst", &["configure", ""]);
    let (enable, start) = (format!("enable {service}"), format!("start {service}"));
    assert_eq!(installed, ["daemon-reload", &enable, &start]);
    let removed = orders("prerm", &["remove"]);
    assert_eq!(removed[0], format!("stop {service}"));
}
