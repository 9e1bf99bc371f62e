//! Targets for what operators, sources and strangers write as text: paths, patterns, conditions,
//! documents.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::SystemTime;

use sessile::base::addr::OwnAddresses;
use sessile::base::path::{CanonicalPath, PathRules, decoded, fold, path_key};
use sessile::base::source_id::SourceId;
use sessile::config::document_key::DocumentKey;
use sessile::config::documents::{Change, Document, Update};
use sessile::config::expression::Expression;
use sessile::config::layers::Layers;
use sessile::config::overlay::{CheckContext, FileProtection, Overlay};
use sessile::config::pattern::{
    HostPattern, PATH_BYTES_MAX, PATH_SEGMENTS_MAX, PathPattern, PathTemplate, probably_meant,
};
use sessile::config::pem::{Mistake, Validity, Wanted};
use sessile::config::snapshot::{CertificateFiles, Snapshot};
use sessile::config::validate::{CertificateFault, Environment, FileContent, validate};

/// The canonical form of a path is its own, and means the bytes that were sent.
pub(super) fn paths(data: &[u8]) {
    let raw = String::from_utf8_lossy(data);
    let Ok(path) = CanonicalPath::read(&raw) else {
        return;
    };
    let text = path.as_str();
    let again = CanonicalPath::read(text).expect("a canonical path is a path");
    assert_eq!(again.as_str(), text);
    assert!(text.is_ascii() && text.starts_with('/') && !text.contains("//"));
    let plain = path.needs() == PathRules::default();
    assert_eq!(plain, path.allowed(PathRules::default()).is_ok());
    assert!(!plain || !(text.contains(';') || text.contains("%2F") || text.contains("%5C")));

    // The obvious reading: cut at slashes, decoded, without what is empty.
    let meaning = |text: &str| -> Vec<Vec<u8>> {
        let segments = text.split('/').filter(|segment| !segment.is_empty());
        segments
            .map(|segment| decoded(segment).into_owned())
            .collect()
    };
    assert_eq!(meaning(text), meaning(&raw));
    for segment in meaning(text) {
        let segment = String::from_utf8(segment).expect("it was checked");
        assert!(!segment.chars().any(|letter| letter.is_ascii_control()));
        assert!(!matches!(segment.as_str(), "." | ".."));
    }
    let key = path_key(text);
    let folded = fold(&key);
    assert_eq!(fold(&folded), folded);
}

/// A pattern is bounded, is written as it is read, and matches what it is filled with.
pub(super) fn patterns(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    if let Ok(host) = text.parse::<HostPattern>() {
        assert_eq!(host.to_string().parse(), Ok(host));
    }
    let _ = probably_meant(&text);
    let Ok(pattern) = text.parse::<PathPattern>() else {
        return;
    };
    assert!(text.len() <= PATH_BYTES_MAX);
    assert!(pattern.segments().len() <= PATH_SEGMENTS_MAX);
    let shown = pattern.to_string();
    if shown.len() <= PATH_BYTES_MAX {
        assert_eq!(shown.parse(), Ok(pattern.clone()), "{shown}");
    }
    let Ok(template) = text.parse::<PathTemplate>() else {
        panic!("a pattern is a template: {text}");
    };
    let names: Vec<_> = pattern.parameters().collect();
    let values = names.iter().map(|name| (*name, "v")).collect();
    let filled = template.fill(&values);
    let path = CanonicalPath::read(&filled).expect("a filled template is a path");
    let captures = pattern.captures(path.as_str());
    assert_eq!(captures.expect("it matches").len(), names.len(), "{filled}");
    for name in names {
        assert_eq!(pattern.value(path.as_str(), name), Some("v"));
    }
}

/// A condition is bounded, and means the same when it is read from what it shows.
pub(super) fn expressions(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let Ok(expression) = text.parse::<Expression>() else {
        return;
    };
    assert!(!expression.alternatives.iter().any(Vec::is_empty));
    let tests: usize = expression.alternatives.iter().map(Vec::len).sum();
    assert!(tests <= text.len());
    assert!(expression.operands().count() <= 2 * tests);
    assert_eq!(expression.to_string().parse(), Ok(expression));
}

/// A file with a guarded route, which documents may weaken.
static FILE: LazyLock<Snapshot> = LazyLock::new(|| {
    let reading = Layers {
        path: Path::new("gateway.toml"),
        text: r#"
            [[listeners]]
            name = "edge"
            listen = ["127.0.0.1:0"]

            [upstreams.chat]
            backends = ["127.0.0.1:1"]

            [[routes]]
            name = "chat"
            path = "/chat"
            upstream = "chat"
            allow = ["10.0.0.0/8"]
        "#,
        environment: &[],
        sets: &[],
    }
    .read();
    let (file, found) = validate(&reading.model, &reading.origin, Path::new(""), &Nowhere);
    file.unwrap_or_else(|| panic!("{found:?}"))
});

/// A document is refused alone or good alone, with diagnostics that can be shown, and the same
/// document comes to the same. The first line is its key.
pub(super) fn documents(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (key, body) = text.split_once('\n').unwrap_or((&text, ""));
    let Ok(key) = key.parse::<DocumentKey>() else {
        return;
    };
    let context = CheckContext {
        authenticators: &BTreeMap::new(),
        directory: Path::new("/nowhere"),
        own: OwnAddresses::default(),
        broker: None,
        functions: &BTreeMap::new(),
        outside: &|_| &Nowhere,
        protection: &FileProtection::new(&FILE),
    };
    let read = || {
        let mut overlay = Overlay::default();
        let document = Document {
            key: key.clone(),
            text: body.into(),
            revision: 1,
        };
        let update = Update {
            source: SourceId::Etcd,
            revision: 1,
            changes: vec![Change::Put(document)],
        };
        overlay.apply(update, &context);
        let faults = overlay.found(&key).into_iter().map(|one| one.to_string());
        let faults: Vec<_> = faults.collect();
        (faults, overlay.is_refused(&key))
    };
    let (faults, refused) = read();
    assert!(!refused || !faults.is_empty());
    assert!(faults.iter().map(String::len).sum::<usize>() < 1 << 20);
    assert_eq!(read(), (faults, refused));
}

/// A world without files and variables.
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

    fn roots(&self, path: &Path) -> Result<u128, String> {
        let path: PathBuf = path.into();
        Err(format!("{} is not there", path.display()))
    }

    fn system_roots(&self) -> Result<(), String> {
        Ok(())
    }

    fn host_name(&self) -> String {
        "fuzz".to_owned()
    }
}
