//! Which source file imports which. A file imports another when it names something that the other
//! defines; `mod` lines, tests and re-exports that a path only passes through do not count.

use std::collections::{BTreeMap, BTreeSet};

/// The files that each file imports.
pub(crate) type Arrows = BTreeMap<String, BTreeSet<String>>;

/// A module is a file, named by its path inside the crate: `["core", "wire"]`.
type Module = Vec<String>;

/// What one source file declares, imports and names.
#[derive(Default)]
struct Source {
    path: String,
    children: BTreeSet<String>,
    /// A name in scope by a `use` line, and the path that it stands for.
    imported: BTreeMap<String, Vec<String>>,
    globs: Vec<Vec<String>>,
    /// The names that are only passed on (`pub use`), unless the code names them too.
    passed_on: BTreeSet<String>,
    /// Every path with at least two names in the rest of the code.
    named: Vec<Vec<String>>,
    defined: BTreeSet<String>,
}

/// Takes comments, string contents and items for tests out of a file.
fn bare(text: &str) -> String {
    let mut kept = String::new();
    let mut skipped: Option<usize> = None;
    for line in text.lines() {
        let trimmed = line.trim_start();
        let indent = line.len() - trimmed.len();
        if let Some(margin) = skipped {
            let ends = trimmed.ends_with(';') || trimmed.ends_with(',') || trimmed.starts_with('}');
            if indent == margin && ends {
                skipped = None;
            }
        } else if trimmed.starts_with("#[cfg(test)]") {
            skipped = Some(indent);
        } else if !trimmed.starts_with("//") {
            kept.push_str(&without_strings(line));
            kept.push('\n');
        }
    }
    kept
}

fn without_strings(line: &str) -> String {
    let line = line.split(" // ").next().unwrap_or(line);
    let mut kept = String::new();
    for (index, part) in line.replace("\\\"", "").split('"').enumerate() {
        if index % 2 == 0 {
            kept.push_str(part);
        }
    }
    kept
}

/// Names and the signs between them; `::` is one sign.
fn tokens(code: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut rest = code;
    while let Some(first) = rest.chars().next() {
        let is_name = |letter: char| letter.is_alphanumeric() || letter == '_';
        let taken = if is_name(first) {
            rest.find(|letter| !is_name(letter)).unwrap_or(rest.len())
        } else if rest.starts_with("::") {
            2
        } else {
            first.len_utf8()
        };
        if !first.is_whitespace() {
            found.push(&rest[..taken]);
        }
        rest = &rest[taken..];
    }
    found
}

fn is_name(token: &str) -> bool {
    token.starts_with(|first: char| first.is_alphabetic() || first == '_')
}

impl Source {
    fn read(path: &str, text: &str) -> Self {
        let code = bare(text);
        let tokens = tokens(&code);
        let mut source = Self {
            path: path.to_owned(),
            ..Self::default()
        };
        let mut at = 0;
        while at < tokens.len() {
            at = match (tokens[at], tokens.get(at + 2)) {
                ("mod", Some(&";")) => {
                    source.children.insert(tokens[at + 1].to_owned());
                    at + 3
                }
                ("use", _) => {
                    let before: BTreeSet<_> = source.imported.keys().cloned().collect();
                    let end = source.import(&tokens, at + 1, &[]);
                    if at > 0 && matches!(tokens[at - 1], "pub" | ")") {
                        let added = source
                            .imported
                            .keys()
                            .filter(|name| !before.contains(*name));
                        source.passed_on.extend(added.cloned());
                    }
                    end
                }
                // A method or a field is no path.
                (".", Some(_)) => at + 2,
                (keyword, Some(_)) if DEFINING.contains(&keyword) => {
                    source.defined.insert(tokens[at + 1].to_owned());
                    at + 1
                }
                (first, _) if is_name(first) => source.name(&tokens, at),
                _ => at + 1,
            };
        }
        source
    }

    /// Reads a path in an expression or a type from `at`; returns where it ends.
    fn name(&mut self, tokens: &[&str], mut at: usize) -> usize {
        let mut path = vec![tokens[at].to_owned()];
        while tokens.get(at + 1) == Some(&"::") && tokens.get(at + 2).is_some_and(|t| is_name(t)) {
            path.push(tokens[at + 2].to_owned());
            at += 2;
        }
        self.named.push(path);
        at + 1
    }

    /// Reads one tree of a `use` item from `at`; returns where it ends.
    fn import(&mut self, tokens: &[&str], mut at: usize, prefix: &[String]) -> usize {
        let mut path = prefix.to_vec();
        loop {
            match tokens[at] {
                "{" => {
                    at += 1;
                    while tokens[at] != "}" {
                        at = self.import(tokens, at, &path);
                        at += usize::from(tokens[at] == ",");
                    }
                    return at + 1;
                }
                "*" => {
                    self.globs.push(path);
                    return at + 1;
                }
                "::" => at += 1,
                name => {
                    if name != "self" || path.is_empty() {
                        path.push(name.to_owned());
                    }
                    at += 1;
                    if tokens[at] != "::" {
                        return self.bind(tokens, at, path);
                    }
                }
            }
        }
    }

    /// Ends an import at `as` or after its last name.
    fn bind(&mut self, tokens: &[&str], at: usize, path: Vec<String>) -> usize {
        let (bound, end) = match tokens[at] {
            // A trait whose methods alone are in scope; it needs a name that no code has.
            "as" if tokens[at + 1] == "_" => (format!("_ {}", path.join("::")), at + 2),
            "as" => (tokens[at + 1].to_owned(), at + 2),
            _ => (path[path.len() - 1].clone(), at),
        };
        self.imported.insert(bound, path);
        end
    }
}

/// The keywords before the name of an item.
const DEFINING: [&str; 9] = [
    "fn",
    "struct",
    "enum",
    "trait",
    "type",
    "const",
    "static",
    "macro_rules",
    "union",
];

pub(crate) struct Tree {
    sources: BTreeMap<Module, Source>,
}

/// What a path leads to: a module, or an item that the module defines.
enum Target {
    Module(Module),
    Item(Module),
}

impl Tree {
    /// Reads the source files, given as pairs of path and text.
    pub(crate) fn new(files: &[(String, String)]) -> Self {
        let mut sources = BTreeMap::new();
        for (path, text) in files {
            let is_test = path.ends_with("/tests.rs") || path.contains("/tests/");
            let Some(inside) = path
                .strip_prefix("src/")
                .and_then(|path| path.strip_suffix(".rs"))
            else {
                continue;
            };
            if is_test || inside == "main" {
                continue;
            }
            let mut module: Module = inside.split('/').map(str::to_owned).collect();
            module.pop_if(|name| name == "mod" || (name == "lib" && inside == "lib"));
            sources.insert(module, Source::read(path, text));
        }
        Self { sources }
    }

    /// Follows a path that stands in `from`; none for paths of other crates and local names.
    fn resolve(&self, from: &Module, path: &[String], depth: usize) -> Option<Target> {
        let source = self.sources.get(from)?;
        let (first, rest) = path.split_first()?;
        let start = match first.as_str() {
            "crate" => Module::new(),
            "self" => from.clone(),
            "super" => from[..from.len().checked_sub(1)?].to_vec(),
            // An import of another name may be of another crate: `use serde::Serialize`.
            name => {
                return if source.children.contains(name) || source.imported.contains_key(name) {
                    self.inside(from, path, depth)
                } else if source.defined.contains(name) {
                    Some(Target::Item(from.clone()))
                } else {
                    self.by_glob(from, path, depth)
                };
            }
        };
        if rest.is_empty() {
            return Some(Target::Module(start));
        }
        if rest[0] == "super" {
            let parent = start[..start.len().checked_sub(1)?].to_vec();
            return match &rest[1..] {
                [] => Some(Target::Module(parent)),
                rest => self.inside(&parent, rest, depth),
            };
        }
        self.inside(&start, rest, depth)
    }

    /// Follows the names of a path from a module on.
    fn inside(&self, module: &Module, path: &[String], depth: usize) -> Option<Target> {
        let source = self.sources.get(module)?;
        let (first, rest) = path.split_first()?;
        // A `use` whose first name is what it binds (`use foo::foo`) would lead here again.
        if depth > 16 {
            return None;
        }
        if source.children.contains(first) {
            let child = [module.as_slice(), std::slice::from_ref(first)].concat();
            return match rest {
                [] => Some(Target::Module(child)),
                rest => self.inside(&child, rest, depth + 1),
            };
        }
        if let Some(path) = source.imported.get(first) {
            return match (self.resolve(module, path, depth + 1)?, rest) {
                (Target::Module(module), [_, ..]) => self.inside(&module, rest, depth + 1),
                (target, _) => Some(target),
            };
        }
        if source.defined.contains(first) {
            return Some(Target::Item(module.clone()));
        }
        self.by_glob(module, path, depth)
    }

    fn by_glob(&self, module: &Module, path: &[String], depth: usize) -> Option<Target> {
        if depth > 16 {
            return None;
        }
        let source = self.sources.get(module)?;
        source.globs.iter().find_map(|glob| {
            let Some(Target::Module(other)) = self.resolve(module, glob, depth + 1) else {
                return None;
            };
            self.inside(&other, path, depth + 1)
        })
    }

    /// Who imports whom.
    pub(crate) fn arrows(&self) -> Arrows {
        let mut arrows = Arrows::new();
        for (module, source) in &self.sources {
            let used = source.imported.iter();
            let used = used.filter(|(name, _)| !source.passed_on.contains(*name));
            for path in used.map(|(_, path)| path).chain(&source.named) {
                let Some(Target::Item(other)) = self.resolve(module, path, 0) else {
                    continue;
                };
                let other = &self.sources[&other].path;
                if *other != source.path {
                    let entry = arrows.entry(source.path.clone()).or_default();
                    entry.insert(other.clone());
                }
            }
        }
        arrows
    }
}
