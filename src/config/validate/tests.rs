//! No text that an operator or a source writes costs more than its length, whatever is in it. The
//! bounds of time are wide: what is quadratic takes minutes here, what is not takes milliseconds.

use std::fmt::Write as _;
use std::path::Path;
use std::time::{Duration, SystemTime};

use crate::base::clock;
use crate::config::layers::Layers;
use crate::config::pem::{Mistake, Validity, Wanted};
use crate::config::snapshot::CertificateFiles;
use crate::config::validate::{CertificateFault, Holds, Surroundings, validate};

struct Nowhere;

impl Surroundings for Nowhere {
    fn variable(&self, name: &str) -> Result<String, String> {
        Err(format!("the environment has no variable `{name}`"))
    }

    fn socket(&self, _: &Path) -> Result<(), String> {
        Ok(())
    }

    fn text(&self, _: &Path, _: Holds) -> Result<String, String> {
        Err("there are no files".to_owned())
    }

    fn certificate(&self, _: &CertificateFiles) -> Vec<CertificateFault> {
        Vec::new()
    }

    fn validities(&self, _: &Path) -> Vec<Validity> {
        Vec::new()
    }

    fn mistake(&self, _: &Path, _: Wanted) -> Option<Mistake> {
        None
    }

    fn now(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH
    }

    fn roots(&self, _: &Path) -> Result<u128, String> {
        Err("there are no files".to_owned())
    }

    fn system_roots(&self) -> Result<(), String> {
        Ok(())
    }

    fn host_name(&self) -> String {
        "test".to_owned()
    }
}

/// Reads and checks a file, renders what is wrong with it, and answers that.
fn read(text: &str) -> Vec<String> {
    let began = clock::now();
    let reading = Layers {
        path: Path::new("gateway.toml"),
        text,
        environment: &[],
        sets: &[],
    }
    .read();
    let (_, more) = validate(&reading.model, &reading.origin, Path::new("/"), &Nowhere);
    let found = reading.found.iter().chain(&more);
    let found: Vec<_> = found.map(ToString::to_string).collect();
    let took = clock::now().duration_since(began);
    assert!(
        took < Duration::from_secs(20),
        "{took:?} for {} bytes",
        text.len()
    );
    let shown: usize = found.iter().map(String::len).sum();
    assert!(
        found.len() <= 310 && shown < 1 << 20,
        "{} findings",
        found.len()
    );
    found
}

#[test]
fn i12_no_step_of_reading_a_configuration_is_quadratic() {
    let route = |name: usize, more: &str| format!("[[routes]]\nname = \"r{name}\"\n{more}\n");
    let many = |more: &dyn Fn(usize) -> String| -> String {
        (0..8_000).map(|place| route(place, &more(place))).collect()
    };
    // Names that are not there beside many that are.
    let mut unknown = many(&|place| format!("upstream = \"chat-x{place}\""));
    for place in 0..5_000 {
        writeln!(unknown, "[upstreams.chat-{place}]\nbackends = [\"a:1\"]").expect("text");
    }
    let found = read(&unknown);
    assert!(
        found.iter().any(|one| one.contains("more errors")),
        "{}",
        found.len()
    );
    // All with one path, each with a condition of its own.
    read(&many(&|place| {
        format!("upstream = \"a\"\nheaders = {{ x = \"{place}\" }}")
    }));
    // A fault in the midst of a list that is long.
    read(&(many(&|_| "upstream = \"a\"".to_owned()) + "[[routes]]\nnam = 1\n"));
    // One line that is long, with a secret and a fault in each part.
    let line: String = (0..50_000)
        .map(|_| "{ token = \"x\", nam = 1 }, ")
        .collect();
    read(&format!("routes = [{line}]\n"));
    // A text that is no TOML, with secrets everywhere.
    read(&"token token token ".repeat(50_000));
    read(&"token = \"\"\"\n".repeat(50_000));
    read(&"= = =\n".repeat(50_000));
}

#[test]
fn i12_what_is_nested_or_long_without_end_is_refused() {
    let refused = |text: &str, says: &str| {
        let found = read(text);
        let told = found.iter().any(|one| one.contains(says));
        assert!(told, "{says}: {:?}", found.first());
    };
    refused(
        &format!("a = {}1{}", "[".repeat(30), "]".repeat(30)),
        "24 deep",
    );
    refused(&format!("a = {}", "[".repeat(100_000)), "recursion depth");
    refused(&format!("{}a = 1", "a.".repeat(100_000)), "recursion limit");
    refused(&format!("[{}a]", "a.".repeat(100_000)), "recursion limit");
    refused(&format!("{} = 1", "a".repeat(2000)), "1024 bytes");
    refused(&"# no\n".repeat(4 << 20), "use at most 16777216");
    let route = |key: &str, value: &str| format!("[[routes]]\nname = \"r\"\n{key} = {value}\n");
    let list = |count: usize| format!("[{}]", "\"a\", ".repeat(count));
    refused(&route("hosts", &list(257)), "257 entries are too many");
    refused(&route("subprotocols", &list(65)), "65 entries are too many");
    refused(
        &route("path", &format!("\"{}\"", "/x".repeat(16_000))),
        "32000 bytes is too long",
    );
    let deep = format!(
        "{}\npath = \"{}\"\n",
        route("hosts", &list(200)),
        "/x".repeat(60)
    );
    refused(&deep, "places in the table");
    let probe = "[upstreams.a]\nprobe = { type = \"tcp\", interval = \"1ms\" }\n";
    refused(probe, "1ms is too short; use at least 50ms");
    refused(
        &route("keepalive", "{ interval = \"1ms\" }"),
        "use at least 100ms",
    );
}
