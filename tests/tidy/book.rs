//! The pages of `docs/` as a book: mdBook builds it, every page is in its summary, every link leads
//! to a heading that is there, and every configuration that a page shows is valid.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Component, Path, PathBuf};
use std::process::Command;

use crate::{check, files, links, none, root};

/// Pages of the book, relative to `docs/`.
fn pages() -> Vec<(String, String)> {
    let pages = files("docs", ".md").into_iter();
    let pages = pages.map(|(path, text)| (path.trim_start_matches("docs/").to_owned(), text));
    pages.filter(|(path, _)| path != "SUMMARY.md").collect()
}

#[test]
fn every_page_is_in_the_summary_once() {
    let summary = fs::read_to_string(root().join("docs/SUMMARY.md")).unwrap();
    let mut listed = links(&summary);
    listed.sort_unstable();
    let mut all: Vec<_> = pages().into_iter().map(|(path, _)| path).collect();
    all.sort_unstable();
    assert_eq!(listed, all, "docs/SUMMARY.md lists each page once");
}

/// The anchors of a page's headings, as the forge and mdBook make them.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut inside_code = false;
    let mut found = BTreeSet::new();
    for line in text.lines() {
        inside_code ^= line.trim_start().starts_with("```");
        let title = line.trim_start_matches('#');
        if inside_code || title.len() == line.len() || !title.starts_with(' ') {
            continue;
        }
        let title = title.trim().to_lowercase();
        let letters = title.chars().filter_map(|letter| match letter {
            ' ' => Some('-'),
            letter if letter.is_alphanumeric() || matches!(letter, '-' | '_') => Some(letter),
            _ => None,
        });
        found.insert(letters.collect());
    }
    found
}

/// A path without `.` and `..`.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => drop(plain.pop()),
            Component::CurDir => {}
            part => plain.push(part),
        }
    }
    plain
}

#[test]
fn links_between_papers_lead_to_headings() {
    let papers = files("", ".md");
    let text_of = |path: &Path| {
        let mut papers = papers.iter();
        papers
            .find(|(known, _)| Path::new(known) == path)
            .map(|(_, text)| text)
    };
    let mut faults = Vec::new();
    for (path, text) in &papers {
        for link in links(text).into_iter().filter(|link| !link.contains(':')) {
            let Some((target, anchor)) = link.split_once('#') else {
                continue;
            };
            let folder = Path::new(path).parent().unwrap();
            let target = match target {
                "" => PathBuf::from(path),
                target => plain(&folder.join(target)),
            };
            if text_of(&target).is_none_or(|text| !anchors(text).contains(anchor)) {
                faults.push(format!("{path} links to {link}"));
            }
        }
    }
    none("anchors resolve", &faults);
}

#[test]
fn mdbook_makes_the_book_with_its_search() {
    let folder = tempfile::tempdir().unwrap();
    let mdbook = root().join("target/test-env/python/bin/mdbook");
    let output = Command::new(mdbook)
        .args(["build", "--dest-dir"])
        .arg(folder.path())
        .arg(root().join("docs"))
        .output()
        .expect("`./test --prepare` installs mdbook");
    let printed = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && !printed.contains("WARN"),
        "{printed}"
    );
    for (path, _) in pages() {
        let page = folder.path().join(&path).with_extension("html");
        assert!(page.exists(), "{path} is not in the book");
    }
    let mut found = fs::read_dir(folder.path()).unwrap();
    let index = found.any(|entry| {
        let name = entry.unwrap().file_name();
        name.to_string_lossy().starts_with("searchindex")
    });
    assert!(index, "no search");
}

/// The blocks of a page in this language, without the indentation of a list.
fn blocks(text: &str, language: &str) -> Vec<String> {
    let begin = format!("```{language}\n");
    let blocks = text.split(&begin).skip(1);
    let blocks = blocks.map(|rest| rest.split("```").next().unwrap());
    blocks
        .map(|block| block.lines().map(|line| format!("{line}\n")).collect())
        .collect()
}

/// A configuration with what an excerpt leaves out: a listener, upstreams, authenticators.
fn completed(excerpt: &str) -> String {
    let mut text = excerpt.to_owned();
    let values = |key: &str| {
        let lines = excerpt.lines().map(str::trim);
        let lines = lines.filter_map(|line| line.strip_prefix(key)?.strip_prefix(" = "));
        let quoted = lines.flat_map(|line| line.split('"').skip(1).step_by(2));
        quoted.collect::<BTreeSet<_>>()
    };
    if !text.contains("[[listeners]]") {
        text += "\n[[listeners]]\nname = \"edge\"\nlisten = [\"127.0.0.1:8080\"]\n";
    }
    for upstream in values("upstream") {
        // `broker` is that of routes without a backend.
        if upstream != "broker" && !text.contains(&format!("[upstreams.{upstream}]")) {
            text += &format!("\n[upstreams.{upstream}]\nbackends = [\"127.0.0.1:9101\"]\n");
        }
    }
    for name in values("authenticate").union(&values("mint_for")) {
        if !text.contains(&format!("[authenticators.{name}]")) {
            text += &format!(
                "\n[authenticators.{name}]\ntype = \"jwt\"\n\
                 jwks = \"https://id.example.com/keys.json\"\n"
            );
        }
    }
    text
}

/// A directory with the files that pages name.
fn named_files() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let names = vec!["edge.example.com".to_owned(), "chat.example.com".to_owned()];
    let certificate = rcgen::generate_simple_self_signed(names).unwrap();
    fs::create_dir(directory.path().join("tls")).unwrap();
    fs::create_dir(directory.path().join("public")).unwrap();
    for (file, text) in [
        ("edge.crt", certificate.cert.pem()),
        ("edge.key", certificate.signing_key.serialize_pem()),
        ("tls/edge.crt", certificate.cert.pem()),
        ("tls/edge.key", certificate.signing_key.serialize_pem()),
        ("operators.pem", certificate.cert.pem()),
        ("ca.pem", certificate.cert.pem()),
        ("admin.token", "0123456789abcdef".repeat(2)),
        ("read.token", "fedcba9876543210".repeat(2)),
        ("lambda.key", "0123456789abcdef".to_owned()),
        ("hub.key", "0123456789abcdef".to_owned()),
        ("publish.key", "0123456789abcdef".to_owned()),
        ("tickets.key", "0123456789abcdef".repeat(4)),
        ("broker.password", "hunter2".to_owned()),
        ("state.password", "hunter2".to_owned()),
        ("cloudflare.txt", "104.16.0.0/13\n".to_owned()),
    ] {
        fs::write(directory.path().join(file), text).unwrap();
    }
    directory
}

#[test]
fn every_configuration_that_a_page_shows_is_valid() {
    let directory = named_files();
    let file = directory.path().join("gateway.toml");
    let (mut faults, mut count) = (Vec::new(), 0);
    for (path, text) in files("docs", ".md") {
        for block in blocks(&text, "toml") {
            count += 1;
            fs::write(&file, completed(&block)).unwrap();
            if let Err(printed) = check(&file) {
                faults.push(format!("{path}: {printed}\n{block}"));
            }
        }
    }
    assert!(count > 25, "only {count} configurations");
    none("what pages show works", &faults);
}

/// The only configuration in this language on a page.
fn only_block(page: &str, language: &str) -> String {
    let text = fs::read_to_string(root().join(page)).unwrap();
    let found = blocks(&text, language);
    let [block] = &found[..] else {
        panic!("one configuration in {page}, not {}", found.len());
    };
    block.clone()
}

/// Runs Python with this program and these arguments; it must succeed.
fn python(program: &str, arguments: &[&str], page: &str) {
    let python = root().join("target/test-env/python/bin/python");
    let output = Command::new(python)
        .args(["-c", program])
        .args(arguments)
        .output()
        .expect("`./test --prepare` installs Python");
    let printed = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{page}: {printed}");
}

#[test]
fn envoy_accepts_what_the_page_about_it_shows() {
    let page = "docs/migrating/envoy.md";
    let directory = named_files();
    let file = directory.path().join("envoy.yaml");
    fs::write(&file, only_block(page, "yaml")).unwrap();
    let file = file.display().to_string();
    // The program of the package, without what the package puts in front of it.
    let program = "import os, sys, envoy; path = os.path.join(os.path.dirname(envoy.__file__), \
                   '_bin', 'envoy'); os.execv(path, [path, '--mode', 'validate', '-c', sys.argv[1]])";
    python(program, &[&file], page);
}

/// No package has Traefik, so its two files are only parsed: YAML, no key twice, and what they
/// refer to is in them.
#[test]
fn what_the_page_about_traefik_shows_is_yaml() {
    let page = "docs/migrating/traefik.md";
    let program = "\
import sys, yaml
class Strict(yaml.SafeLoader):
    pass
def mapping(loader, node):
    keys = [loader.construct_object(key) for key, _ in node.value]
    assert len(keys) == len(set(keys)), f'a key stands twice: {keys}'
    return loader.construct_mapping(node, deep=True)
Strict.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, mapping)
static, dynamic = [yaml.load(text, Strict) for text in sys.argv[1:]]
http, resolvers = dynamic['http'], static['certificatesResolvers']
for router in http['routers'].values():
    assert router['service'] in http['services'], router
    assert all(name in http['middlewares'] for name in router['middlewares']), router
    assert router['tls']['certResolver'] in resolvers, router
";
    let text = fs::read_to_string(root().join(page)).unwrap();
    let files = blocks(&text, "yaml");
    let files: Vec<_> = files.iter().map(String::as_str).collect();
    python(program, &files, page);
}

#[test]
fn nginx_and_haproxy_accept_what_the_pages_about_them_show() {
    let directory = named_files();
    let at = |file: &str| directory.path().join(file);
    let judge = |page: &str, language: &str, program: &str, arguments: &[&str]| {
        fs::write(at("other.conf"), only_block(page, language)).unwrap();
        // Where Debian has servers, for users who are not root.
        let known = Path::new("/usr/sbin").join(program);
        let program = if known.exists() {
            known
        } else {
            program.into()
        };
        let output = Command::new(&program)
            .args(arguments)
            .arg(at("other.conf"))
            .current_dir(directory.path())
            .output()
            .unwrap_or_else(|error| {
                panic!(
                    "{}: {error}; `./test --prepare` installs it",
                    program.display()
                )
            });
        let printed = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{page}: {printed}");
    };
    let prefix = format!("{}/", directory.path().display());
    let own = format!("pid {prefix}nginx.pid; error_log stderr;");
    let nginx = ["-t", "-p", &prefix, "-g", &own, "-c"];
    judge("docs/migrating/nginx.md", "nginx", "nginx", &nginx);
    judge(
        "docs/migrating/haproxy.md",
        "haproxy",
        "haproxy",
        &["-c", "-f"],
    );
}
