//! No text that an operator or a source writes costs more than its length, whatever is in it. Steps
//! are counted (`base::work`), so that a busy machine changes nothing.

use std::fmt::Write as _;
use std::path::Path;
use std::time::SystemTime;

use crate::base::work;
use crate::config::layers::Layers;
use crate::config::pem::{Mistake, Validity, Wanted};
use crate::config::snapshot::CertificateFiles;
use crate::config::validate::{CertificateFault, Environment, FileContent, validate};

struct Nowhere;

impl Environment for Nowhere {
    fn variable(&self, name: &str) -> Result<String, String> {
        Err(format!("the environment has no variable `{name}`"))
    }

    fn socket(&self, _: &Path) -> Result<(), String> {
        Ok(())
    }

    fn text(&self, _: &Path, _: FileContent) -> Result<String, String> {
        Err("there are no files".to_owned())
    }

    fn broker_name(&self, _: &str) -> Result<(), String> {
        Ok(())
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
    let shown: usize = found.iter().map(String::len).sum();
    assert!(
        found.len() <= 310 && shown < 1 << 20,
        "{} findings",
        found.len()
    );
    found
}

/// Reads what `text` makes of a size and of four times that: no more than about four times the
/// steps. Quadratic is sixteen times.
fn grows_with_its_length(what: &str, text: impl Fn(usize) -> String) {
    const SIZE: usize = 2_000;
    let (small, _) = work::counted(|| read(&text(SIZE)));
    let (large, _) = work::counted(|| read(&text(4 * SIZE)));
    assert!(small > SIZE as u64, "{what}: {small} steps were counted");
    assert!(large < small * 5, "{what}: {small} steps, then {large}");
}

#[test]
fn i12_no_step_of_reading_a_configuration_is_quadratic() {
    let route = |name: usize, more: &str| format!("[[routes]]\nname = \"r{name}\"\n{more}\n");
    let many = |size: usize, more: &dyn Fn(usize) -> String| -> String {
        (0..size).map(|place| route(place, &more(place))).collect()
    };
    // Names that are not there beside many that are.
    let unknown = |size| {
        let mut text = many(size, &|place| format!("upstream = \"chat-x{place}\""));
        for place in 0..size / 2 {
            writeln!(text, "[upstreams.chat-{place}]\nbackends = [\"a:1\"]").expect("text");
        }
        text
    };
    let found = read(&unknown(8_000));
    assert!(
        found.iter().any(|one| one.contains("more errors")),
        "{}",
        found.len()
    );
    grows_with_its_length("unknown names", unknown);
    grows_with_its_length("one path, each with a condition of its own", |size| {
        many(size, &|place| {
            format!("upstream = \"a\"\nheaders = {{ x = \"{place}\" }}")
        })
    });
    grows_with_its_length("a fault behind a long list", |size| {
        many(size, &|_| "upstream = \"a\"".to_owned()) + "[[routes]]\nnam = 1\n"
    });
    grows_with_its_length("a fault in each of a list", |size| {
        many(size, &|_| "upstrem = \"a\"".to_owned())
    });
    grows_with_its_length("one line, with a secret and a fault in each part", |size| {
        let line = "{ token = \"x\", nam = 1 }, ".repeat(size);
        format!("routes = [{line}]\n")
    });
    // Texts that are no TOML.
    for piece in ["token token token ", "token = \"\"\"\n", "= = =\n"] {
        grows_with_its_length(piece, |size| piece.repeat(size));
    }
}

#[test]
fn i12_what_is_nested_or_long_without_end_is_refused() {
    let refused = |text: &str, expected: &str| {
        let found = read(text);
        let reported = found.iter().any(|one| one.contains(expected));
        assert!(reported, "{expected}: {:?}", found.first());
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
