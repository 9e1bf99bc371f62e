//! What the gateway asks of the system, seen by strace(1): nothing that its systemd unit forbids,
//! and no file or socket that is open to others for a moment, whatever the umask is.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::Signal;

use crate::support::certificates::Authority;
use crate::support::{Backend, Client, Gateway, eventually};

/// Starts the rest of its arguments in the same process: with no umask at all, and traced into
/// `$TRACE.PID`.
const WRAPPER: &str = "umask 000; exec strace -D -f -qq -tt -s 4096 -o \"$1.$$\" \"${@:2}\"";

/// A gateway with everything that makes files, and a day of its life in short.
struct Traced {
    gateway: Gateway,
    before: Gateway,
    traces: PathBuf,
}

impl Traced {
    async fn start() -> Self {
        let backend = Backend::echo().await;
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().to_owned();
        let traces = path.join("trace");
        Authority::new(&path).issue("edge", &["localhost"]);
        let config = format!(
            "[[listeners]]\nname = \"edge\"\nlisten = [\"127.0.0.1:0\", \
             \"unix:{path}/edge.sock\"]\nsocket_mode = \"0660\"\n\n\
             [[listeners]]\nname = \"tls\"\nlisten = [\"127.0.0.1:0\"]\n\
             tls.certificates = [{{ cert = \"edge.crt\", key = \"edge.key\" }}]\n\n\
             [upstreams.echo]\nbackends = [{{ id = \"b\", address = \"{}\" }}]\n\
             probe = {{ type = \"websocket\", path = \"/\", interval = \"100ms\" }}\n\n\
             [[routes]]\nname = \"all\"\nupstream = \"echo\"\n",
            backend.address,
            path = path.display(),
        );
        let wrapper = ["bash", "-c", WRAPPER, "bash", traces.to_str().unwrap()];
        let mut before = Gateway::start_wrapped(&wrapper, directory, &config).await;
        let mut client = Client::connect(before.address(), "/").await;
        client.echo("before").await;
        let revoked = before.admin(
            "POST",
            "/v1/revocations",
            "{\"subject\":\"ann\",\"ttl\":\"1h\"}",
        );
        assert_eq!(revoked.status, 201, "{}", revoked.body);
        let ordered = "{\"state\":\"draining\"}";
        let ordered = before.admin("PATCH", "/v1/upstreams/echo/backends/b", ordered);
        assert_eq!(ordered.status, 200, "{}", ordered.body);
        let ordered = "{\"state\":\"active\"}";
        before.admin("PATCH", "/v1/upstreams/echo/backends/b", ordered);
        let generation = before.generation();
        before.write_config(&config.replace("name = \"all\"", "name = \"every\""));
        before.signal(Signal::HUP);
        eventually("SIGHUP reloads", async || before.generation() > generation).await;
        let gateway = before.succeed().await;
        assert_eq!(
            before.wait_for_exit().await.code(),
            Some(0),
            "{}",
            before.log()
        );
        client.echo("after").await;
        client.close().await;
        gateway.wait_until_idle().await;
        Self {
            gateway,
            before,
            traces,
        }
    }

    /// The calls of both processes, whole lines without the process' number.
    fn calls(&self) -> Vec<String> {
        let folder = self.traces.parent().unwrap();
        let name = self.traces.file_name().unwrap().to_str().unwrap();
        let mut calls = Vec::new();
        for entry in fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            if entry.file_name().to_str().unwrap().starts_with(name) {
                let text = fs::read(entry.path()).unwrap();
                let text = String::from_utf8_lossy(&text).into_owned();
                let lines = text.lines().filter_map(|line| line.split_once(' '));
                calls.extend(
                    lines
                        .filter_map(|(_, call)| call.trim_start().split_once(' '))
                        .map(|(_, call)| call.to_owned()),
                );
            }
        }
        calls
    }
}

/// The values of a unit's key.
fn settings(unit: &str, key: &str) -> Vec<String> {
    let lines = unit.lines().filter_map(|line| line.split_once('='));
    let ours = lines.filter(|(name, _)| *name == key);
    ours.flat_map(|(_, value)| value.split(' '))
        .map(str::to_owned)
        .collect()
}

/// The calls in a set such as `@system-service`, those of the sets in it too.
fn system_calls(set: &str, into: &mut BTreeSet<String>) {
    let mut command = Command::new("systemd-analyze");
    let command = command.args(["syscall-filter", "--no-pager", set]);
    let listed = command
        .output()
        .expect("systemd-analyze (package systemd) is installed");
    assert!(listed.status.success(), "{set} is no set");
    for line in String::from_utf8(listed.stdout).unwrap().lines().skip(1) {
        match line.trim() {
            "" => {}
            comment if comment.starts_with('#') => {}
            inner if inner.starts_with('@') => system_calls(inner, into),
            call => drop(into.insert(call.to_owned())),
        }
    }
}

/// What the unit's `SystemCallFilter=` lets through.
fn permitted(unit: &str) -> BTreeSet<String> {
    let mut permitted = BTreeSet::new();
    for line in unit
        .lines()
        .filter_map(|line| line.strip_prefix("SystemCallFilter="))
    {
        let mut named = BTreeSet::new();
        let denied = line.strip_prefix('~');
        for set in denied.unwrap_or(line).split(' ') {
            system_calls(set, &mut named);
        }
        match denied {
            Some(_) => permitted.retain(|call| !named.contains(call)),
            None => permitted.extend(named),
        }
    }
    permitted
}

#[tokio::test]
async fn the_unit_permits_what_the_gateway_does() {
    let unit = fs::read_to_string(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/deploy/sessile.service"
    ));
    let unit = unit.unwrap();
    let traced = Traced::start().await;
    let root = traced.gateway.directory().to_owned();
    // Its end is traced too.
    let mut gateway = traced.gateway;
    gateway.signal(Signal::TERM);
    assert_eq!(
        gateway.wait_for_exit().await.code(),
        Some(0),
        "{}",
        gateway.log()
    );
    let traced = Traced { gateway, ..traced };
    let calls = traced.calls();

    let permitted = permitted(&unit);
    let families = settings(&unit, "RestrictAddressFamilies");
    let mut seen = BTreeSet::new();
    for call in &calls {
        let Some((name, arguments)) = call.split_once('(') else {
            continue;
        };
        // The wrapper's own first call becomes the gateway.
        let named = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        if !named {
            continue;
        }
        seen.insert(name);
        assert!(permitted.contains(name), "SystemCallFilter forbids {call}");
        match name {
            "socket" | "socketpair" => {
                let family = arguments.split(',').next().unwrap();
                assert!(
                    families.iter().any(|one| one == family),
                    "RestrictAddressFamilies: {call}"
                );
            }
            "mmap" | "mprotect" | "pkey_mprotect" => {
                let executable_and_writable =
                    arguments.contains("PROT_WRITE") && arguments.contains("PROT_EXEC");
                assert!(!executable_and_writable, "MemoryDenyWriteExecute: {call}");
            }
            "clone" | "clone3" | "unshare" => {
                assert!(
                    !arguments.contains("CLONE_NEW"),
                    "RestrictNamespaces: {call}"
                );
            }
            _ => {}
        }
        if let Some(path) = written_path(name, arguments) {
            // ProtectSystem=strict leaves the unit's own directories; here they are one.
            let ours = path.starts_with(&root) || path.starts_with("/dev/");
            assert!(ours, "ProtectSystem: {call}");
        }
    }
    // The trace holds what this test is about.
    for call in [
        "accept4", "bind", "fchmod", "mkdir", "rename", "sendmsg", "recvmsg", "unlink",
    ] {
        assert!(seen.contains(call), "no {call} among {seen:?}");
    }
}

/// The absolute path that a call makes, changes or removes.
fn written_path<'c>(name: &str, arguments: &'c str) -> Option<&'c Path> {
    let writes = match name {
        "open" | "openat" => ["O_WRONLY", "O_RDWR", "O_CREAT"]
            .iter()
            .any(|flag| arguments.contains(flag)),
        "mkdir" | "mkdirat" | "rename" | "renameat" | "renameat2" | "unlink" | "unlinkat"
        | "link" | "linkat" | "symlink" | "chmod" | "fchmodat" | "truncate" => true,
        _ => false,
    };
    let path = arguments.split('"').nth(1)?;
    (writes && path.starts_with('/')).then(|| Path::new(path))
}

#[tokio::test]
async fn files_and_sockets_are_never_open_to_others() {
    let traced = Traced::start().await;
    let root = traced.gateway.directory();
    let mode = |name: &str| {
        let found = fs::metadata(root.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
        found.permissions().mode() & 0o7777
    };
    for socket in ["handover.sock", "admin.sock"] {
        assert_eq!(mode(socket), 0o600, "{socket}");
    }
    assert_eq!(mode("edge.sock"), 0o660);
    assert_eq!(mode("access.log"), 0o640);
    assert_eq!(mode("state"), 0o700);
    let kept = fs::read_dir(root.join("state")).unwrap();
    let kept: BTreeSet<_> = kept
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert!(kept.len() >= 2, "{kept:?}");
    for name in &kept {
        assert_eq!(mode(&format!("state/{name}")), 0o600, "{name}");
    }
    // The files are closed now. The calls show that they were never open to others.
    for call in traced.calls() {
        let Some((name, arguments)) = call.split_once('(') else {
            continue;
        };
        match name {
            "openat" | "open" if arguments.contains("O_CREAT") => {
                let records = arguments.contains("access.log\"") && arguments.contains(", 0640");
                let new = arguments.contains("O_EXCL") && arguments.contains("O_NOFOLLOW");
                assert!(records || (new && arguments.contains(", 0600")), "{call}");
            }
            "mkdir" | "mkdirat" => assert!(arguments.contains(", 0700"), "{call}"),
            _ => {}
        }
    }
    drop(traced.before);
}
