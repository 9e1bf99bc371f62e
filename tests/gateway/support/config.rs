//! Text of configurations: what every gateway under test has, and the short forms of what most
//! tests want.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;

/// A listener on a free port, unless the test brings its own; an admin API, records and a short
/// grace that the harness relies on. Lines `# node: key = value` go into `[node]`, those that begin
/// with `# admin: ` into `[admin]`; `# access: ` has more keys beside the file of records.
pub fn complete(test: &str, directory: &Path) -> String {
    let access = test
        .lines()
        .find_map(|line| line.strip_prefix("# access: "));
    let mut text = format!(
        "[node]\nname = \"under-test\"\nworkers = 2\nstate_dir = \"{directory}/state\"\n\n\
         [admin]\nlisten = \"unix:{directory}/admin.sock\"\n\n\
         [log]\naccess = {{ file = \"{directory}/access.log\"{access} }}\nformat = \"json\"\n\n",
        directory = directory.display(),
        access = access.map(|keys| format!(", {keys}")).unwrap_or_default(),
    );
    let node: Vec<_> = test
        .lines()
        .filter_map(|line| line.strip_prefix("# node: "))
        .collect();
    if node.iter().any(|line| line.starts_with("workers")) {
        text = text.replacen("workers = 2\n", "", 1);
    }
    text = text.replacen("[node]\n", &format!("[node]\n{}\n", node.join("\n")), 1);
    let admin: Vec<_> = test
        .lines()
        .filter_map(|line| line.strip_prefix("# admin: "))
        .collect();
    text = text.replacen("[admin]\n", &format!("[admin]\n{}\n", admin.join("\n")), 1);
    let log: Vec<_> = test
        .lines()
        .filter_map(|line| line.strip_prefix("# log: "))
        .collect();
    if log.iter().any(|line| line.starts_with("format")) {
        text = text.replacen("format = \"json\"\n", "", 1);
    }
    if log.iter().any(|line| line.starts_with("access")) {
        let lines = text.lines().filter(|line| !line.starts_with("access = {"));
        text = lines.flat_map(|line| [line, "\n"]).collect();
    }
    text = text.replacen("[log]\n", &format!("[log]\n{}\n", log.join("\n")), 1);
    if !test.contains("[shutdown]") {
        text.push_str("[shutdown]\ngrace = \"500ms\"\n\n");
    }
    if !test.contains("[sources]") && !test.contains("[sources.") {
        text.push_str("[sources.file]\nwatch = false\n\n");
    }
    if !test.contains("[[listeners]]") {
        text.push_str("[[listeners]]\nname = \"edge\"\nlisten = [\"127.0.0.1:0\"]\n\n");
    }
    text.push_str(test);
    text
}

/// Upstream `echo` over these backends and a route `all` for everything, keyed by the query's `k`.
/// `upstream` and `route` are further lines of each.
pub fn echo(backends: &[SocketAddr], upstream: &str, route: &str) -> String {
    format!(
        "[upstreams.echo]\n{}\n{upstream}\n\n\
         [[routes]]\nname = \"all\"\nupstream = \"echo\"\naffinity = [\"query:k\"]\n{route}\n",
        members(backends)
    )
}

/// `backends = [ … ]`
pub fn members(backends: &[SocketAddr]) -> String {
    let mut text = String::from("backends = [");
    for backend in backends {
        write!(text, "\"{backend}\", ").expect("strings take text");
    }
    text.push(']');
    text
}
