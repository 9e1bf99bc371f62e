//! `deploy/` agrees with the binary, the build and the gateway's own configuration.
//! systemd judges its units; Docker is not asked, and Prometheus in `monitoring`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::{Command, Output};

use serde_json::Value;

use crate::root;

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn sessile(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sessile"));
    command.args(arguments).output().unwrap()
}

/// Sees that the binary has the command and its options; they are taken from `VERB --flag value …`.
#[track_caller]
fn options_exist(arguments: &[&str]) {
    let help = sessile(&[arguments[0], "--help"]);
    assert!(help.status.success(), "there is no {}", arguments[0]);
    let help = String::from_utf8(help.stdout).unwrap();
    let known: BTreeSet<_> = help
        .split(|letter: char| letter.is_whitespace() || letter == ',')
        .collect();
    for option in arguments.iter().filter(|word| word.starts_with('-')) {
        assert!(known.contains(option), "{arguments:?}: no {option}");
    }
}

/// The values of a unit's key.
fn settings<'a>(unit: &'a str, key: &str) -> Vec<&'a str> {
    let lines = unit.lines().filter_map(|line| line.split_once('='));
    let ours = lines.filter(|(name, _)| *name == key);
    ours.map(|(_, value)| value).collect()
}

#[test]
fn the_unit_starts_what_the_binary_knows() {
    let unit = read("deploy/sessile.service");
    let [start] = settings(&unit, "ExecStart")[..] else {
        panic!("one ExecStart");
    };
    let words: Vec<_> = start.split(' ').collect();
    assert_eq!(words[..2], ["/usr/local/bin/sessile", "run"]);
    options_exist(&words[1..]);
    // A reload runs the very same command, in the background.
    let reloads = settings(&unit, "ExecReload");
    assert_eq!(reloads[1], format!("/bin/sh -c '{start} &'"));
    let check: Vec<_> = reloads[0].split(' ').collect();
    options_exist(&check[1..]);
    assert_eq!(settings(&unit, "Type"), ["notify"]);
    assert_eq!(settings(&unit, "NotifyAccess"), ["all"]);
    // It counts for the main process only, so a check before it would be tried again and again.
    assert!(settings(&unit, "ExecStartPre").is_empty());
    let refused = sessile(&["run", "--config", "no/such/gateway.toml"]).status;
    let prevented = settings(&unit, "RestartPreventExitStatus");
    assert_eq!(prevented, [refused.code().unwrap().to_string()]);
}

#[test]
fn the_unit_of_a_registration_starts_what_the_binary_knows() {
    let unit = read("deploy/sessile-register@.service");
    let [start] = settings(&unit, "ExecStart")[..] else {
        panic!("one ExecStart");
    };
    let words: Vec<_> = start.split(' ').collect();
    assert_eq!(words[..2], ["/usr/local/bin/sessile", "register"]);
    options_exist(&words[1..]);
    // A service of type `notify` must report that it is ready.
    assert_eq!(settings(&unit, "Type"), ["notify"]);
    let refused = sessile(&["register", "--upstream", "a"]).status;
    let prevented = settings(&unit, "RestartPreventExitStatus");
    assert_eq!(prevented, [refused.code().unwrap().to_string()]);
}

/// How exposed a unit may be, in tenths, as `systemd-analyze security` counts.
const EXPOSURE_MAX: &str = "25";

/// Runs `systemd-analyze` on a copy of the unit that starts the binary of this build.
fn analyze(unit: &str, arguments: &[&str]) -> Output {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(unit);
    let text = read(&format!("deploy/{unit}"));
    let text = text.replace("/usr/local/bin/sessile", env!("CARGO_BIN_EXE_sessile"));
    fs::write(&path, text).unwrap();
    let mut command = Command::new("systemd-analyze");
    let command = command.args(arguments).arg("--no-pager").arg(path);
    command
        .output()
        .expect("systemd-analyze (package systemd) is installed")
}

#[test]
fn the_units_are_valid_and_hardly_exposed() {
    for unit in ["sessile.service", "sessile-register@.service"] {
        let verified = analyze(unit, &["verify"]);
        let printed = String::from_utf8_lossy(&verified.stderr);
        assert!(
            verified.status.success() && printed.is_empty(),
            "{unit}: {printed}"
        );
        let limit = format!("--threshold={EXPOSURE_MAX}");
        let judged = analyze(unit, &["security", "--offline=true", &limit]);
        let table = String::from_utf8_lossy(&judged.stdout);
        assert!(judged.status.success(), "{unit}: {table}");
        assert!(table.contains("Overall exposure level"), "{unit}: {table}");

        let text = read(&format!("deploy/{unit}"));
        let one = |key: &str| settings(&text, key).concat();
        // Not part of systemd's score, or of little weight in it.
        assert_eq!(one("LimitCORE"), "0", "{unit}");
        assert_eq!(one("UMask"), "0077", "{unit}");
        assert_eq!(one("RestrictNamespaces"), "yes", "{unit}");
        assert_eq!(one("LockPersonality"), "yes", "{unit}");
        let filters = settings(&text, "SystemCallFilter");
        assert_eq!(
            filters,
            ["@system-service", "~@privileged @resources"],
            "{unit}"
        );
    }
    let unit = read("deploy/sessile.service");
    assert_eq!(settings(&unit, "RuntimeDirectoryMode"), ["0700"]);
    assert_eq!(settings(&unit, "StateDirectoryMode"), ["0700"]);
}

/// Whether this is `sha256:` and 64 digits.
fn is_digest(text: &str) -> bool {
    let digits = text.strip_prefix("sha256:").unwrap_or_default();
    let hexadecimal = |digit: u8| matches!(digit, b'0'..=b'9' | b'a'..=b'f');
    digits.len() == 64 && digits.bytes().all(hexadecimal)
}

/// An image of the Dockerfile is named by a digest: one that is written there, or a build argument
/// without a default, which `docker build` refuses to go without.
fn pinned(dockerfile: &str) -> Result<(), String> {
    let mut stages = BTreeSet::new();
    for from in dockerfile
        .lines()
        .filter_map(|line| line.strip_prefix("FROM "))
    {
        let mut words = from.split(' ').filter(|word| !word.starts_with("--"));
        let image = words.next().unwrap_or_default();
        if !stages.contains(image) {
            let (_, digest) = image
                .split_once('@')
                .ok_or_else(|| format!("no digest: {from}"))?;
            let argument = digest
                .strip_prefix("${")
                .and_then(|name| name.strip_suffix('}'));
            let good = match argument {
                Some(name) => dockerfile.lines().any(|line| line == format!("ARG {name}")),
                None => is_digest(digest),
            };
            if !good {
                return Err(format!("not a digest: {from}"));
            }
        }
        if let (Some("AS"), Some(name)) = (words.next(), words.next()) {
            stages.insert(name);
        }
    }
    Ok(())
}

#[test]
fn every_image_is_named_by_digest() {
    let dockerfile = read("deploy/Dockerfile");
    assert_eq!(pinned(&dockerfile), Ok(()));
    // The first lines say how to build it, with every argument that is required.
    for argument in dockerfile
        .lines()
        .filter_map(|line| line.strip_prefix("ARG "))
    {
        let shown = format!("--build-arg {argument}=sha256:…");
        assert!(dockerfile.contains(&shown), "{shown}");
    }
    let digest = format!("sha256:{}", "0a".repeat(32));
    let check = |text: &str, good: bool| assert_eq!(pinned(text).is_ok(), good, "{text}");
    check(&format!("FROM debian@{digest} AS a\nFROM a"), true);
    check("ARG D\nFROM debian:12@${D}", true);
    check("ARG D=latest\nFROM debian:12@${D}", false);
    check("FROM debian:12@${D}", false);
    check("FROM debian:12", false);
    check("FROM debian:12@sha256:12", false);
    check("FROM debian@${D} AS a", false);
}

#[test]
fn the_image_has_the_binary_of_the_profile_that_we_ship() {
    let dockerfile = read("deploy/Dockerfile");
    let after = |words: &str| {
        let line = dockerfile
            .lines()
            .find_map(|line| line.strip_prefix(words))
            .unwrap_or_else(|| panic!("no line begins with {words}"));
        line.trim()
    };
    let profile = after("RUN cargo build --profile ").split(' ').next();
    let profile = profile.unwrap();
    assert!(read("Cargo.toml").contains(&format!("[profile.{profile}]\n")));
    let (from, to) = after("COPY --from=build ").split_once(' ').unwrap();
    let folder = after("WORKDIR ");
    assert_eq!(from, format!("{folder}/target/{profile}/sessile"));
    let entry: Vec<String> = serde_json::from_str(after("ENTRYPOINT ")).unwrap();
    assert_eq!(entry, [to]);
    let command: Vec<&str> = serde_json::from_str(after("CMD ")).unwrap();
    options_exist(&command);
    let config = command.last().unwrap();
    assert!(
        after("# docker run ").contains(&format!(":{config}:")),
        "its first lines mount {config}"
    );
}

#[test]
fn prometheus_scrapes_the_admin_api_and_reads_our_alerts() {
    let prometheus = yaml(&read("deploy/prometheus.yml")).unwrap();
    let rules = root().join("deploy").join(&prometheus["rule_files/0"]);
    assert!(rules.exists(), "{} is not there", rules.display());
    let targets = &prometheus["scrape_configs/0/static_configs/0/targets"];
    let gateway = read("deploy/gateway.toml");
    let admin = format!("[admin]\nlisten = {}\n", targets.trim_matches(['[', ']']));
    assert!(
        gateway.contains(&admin),
        "{targets} is not where it listens"
    );
}

/// The scalars of a YAML file by path, as written. It takes the part of YAML that we write: block
/// mappings and lists, plain scalars on one line, and what JSON has; all else is a fault.
fn yaml(text: &str) -> Result<BTreeMap<String, String>, String> {
    let mut scalars = BTreeMap::new();
    // Column and name of everything that the line is in, and whether more may be in it.
    let mut inside: Vec<(usize, String)> = Vec::new();
    let mut open = true;
    for (number, line) in text.lines().enumerate() {
        let mut rest = line.trim_start_matches(' ');
        if rest.is_empty() || rest.starts_with('#') {
            continue;
        }
        let fault = |what: &str| Err(format!("line {}: {what}: {line}", number + 1));
        let mut column = line.len() - rest.len();
        if inside.last().is_some_and(|(last, _)| *last < column) && !open {
            return fault("it belongs to nothing");
        }
        let mut left = None;
        while inside.last().is_some_and(|(last, _)| *last > column) {
            left = inside.pop();
        }
        if left.is_some() && inside.last().is_none_or(|(last, _)| *last != column) {
            return fault("nothing else has this indentation");
        }
        while let Some(item) = rest.strip_prefix("- ") {
            let before = inside.pop_if(|(last, _)| *last == column);
            let index = before.map_or(Ok(0), |(_, name)| name.parse::<usize>().map(|at| at + 1));
            let Ok(index) = index else {
                return fault("an item beside keys");
            };
            inside.push((column, index.to_string()));
            (column, rest) = (column + 2, item);
        }
        let keyed = rest.strip_suffix(':').map(|key| (key, ""));
        let keyed = keyed.or_else(|| rest.split_once(": "));
        let value = keyed.map_or(rest, |(_, value)| value);
        if let Some((key, _)) = keyed {
            let beside = inside.pop_if(|(last, _)| *last == column);
            let is_name = key
                .chars()
                .all(|letter| letter.is_ascii_lowercase() || letter == '_');
            if !is_name || beside.is_some_and(|(_, name)| name.parse::<usize>().is_ok()) {
                return fault("no key can be here");
            }
            inside.push((column, key.to_owned()));
        }
        open = value.is_empty();
        if !open && !is_scalar(value) {
            return fault("this wants quotes");
        }
        let names: Vec<_> = inside.iter().map(|(_, name)| name.as_str()).collect();
        if scalars.insert(names.join("/"), value.to_owned()).is_some() {
            return fault("it is there twice");
        }
    }
    Ok(scalars)
}

fn is_scalar(value: &str) -> bool {
    if value.starts_with(['"', '[', '{']) {
        return serde_json::from_str::<Value>(value).is_ok();
    }
    let special = value.starts_with(|first: char| "&*!|>%@`'#?-,]}:\t".contains(first));
    !special && ![": ", " #", "\t"].iter().any(|bad| value.contains(bad)) && !value.ends_with(':')
}

#[test]
fn faults_of_yaml_are_found() {
    let check = |text: &str, wanted: Option<&str>| {
        let printed = yaml(text).err();
        let right = printed
            .as_deref()
            .map(|printed| printed.split(": ").nth(1).unwrap());
        assert_eq!(right, wanted, "{text}");
    };
    check("a:\n  - b: 1\n    c: \"d: e\"\n  - f\ng: h", None);
    check("a: 1\n  b: 2", Some("it belongs to nothing"));
    check(
        "a:\n    b: 1\n  c: 2",
        Some("nothing else has this indentation"),
    );
    check("a: 1\n- b", Some("an item beside keys"));
    check("- a: 1\nb: 2", Some("no key can be here"));
    check("a: b: c", Some("this wants quotes"));
    check("a: {{ b }}", Some("this wants quotes"));
    check("a: 1\na: 2", Some("it is there twice"));
}

#[test]
fn the_build_needs_no_network_and_refuses_descriptors_of_other_files() {
    let script = read("tools/protoc");
    for word in ["cargo", "curl", "wget"] {
        let calls = script.lines().filter(|line| !line.starts_with('#'));
        let found = calls.filter(|line| line.contains(word)).count();
        assert_eq!(found, 0, "tools/protoc calls {word}");
    }
    assert!(read(".cargo/config.toml").contains("tools/protoc"));
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("descriptors");
    let mut protoc = Command::new(root().join("tools/protoc"));
    protoc.arg("-o").arg(&out).arg("-I").arg(folder.path());
    let output = protoc.arg("a.proto").output().unwrap();
    assert!(!output.status.success() && !out.exists());
    let printed = String::from_utf8_lossy(&output.stderr);
    assert!(printed.contains("tools/update-descriptors"), "{printed}");
}
