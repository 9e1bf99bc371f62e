//! The layers of the configuration, lowest first: the model's defaults, the file, the environment,
//! flags. They are merged here, and every diagnostic for a key can be traced to the place that set
//! it. This file does no I/O: texts and variables are arguments.

use std::path::Path;

use figment::value::{Dict, Map, Tag, Value};
use figment::{Figment, Metadata, Profile, Provider};

use crate::config::bounds;
use crate::config::decode::{Holes, Misfit, MisfitKind, decode};
use crate::config::diagnostic::{Diagnostic, Location, Severity, Source, nearest, suggestion};
use crate::config::model::Model;
use crate::config::span::{Document, KeyPath, SyntaxFault, lone_value, names_freely};

/// Variables of the environment that begin so are configuration if a `__` follows:
/// `SESSILE_ADMIN__LISTEN` is `admin.listen`. Without one they are something else, such as what
/// Kubernetes sets for a service of this name.
const VARIABLE_PREFIX: &str = "SESSILE_";

/// Kinds of layers, as figment names them.
const FILE: &str = "file";
const VARIABLE: &str = "variable";
const FLAG: &str = "flag";

/// Faults of the text itself, or of types in it, that are shown. Each takes time in proportion to
/// the text.
const MISFITS_SHOWN_MAX: usize = 100;

/// What an operator wrote, wherever.
#[derive(Clone, Copy, Debug)]
pub struct Layers<'a> {
    /// The file's name, as given by the operator.
    pub path: &'a Path,
    /// The file's text.
    pub text: &'a str,
    /// The environment, as name and value; what does not concern the gateway is passed over.
    pub environment: &'a [(String, String)],
    /// `--set` flags, as key and value.
    pub sets: &'a [(String, String)],
}

/// The merged model, the origin of its values, and the faults.
#[derive(Debug)]
pub struct Reading {
    /// As far as it could be read.
    pub model: Model,
    /// Where things were written.
    pub origin: Origin,
    /// Everything that is not TOML or does not fit the model, and variables that look as if they
    /// should have set something.
    pub found: Vec<Diagnostic>,
}

/// Where values were written.
#[derive(Debug)]
pub struct Origin {
    source: Source,
    document: Document,
    layers: Figment,
    merged: Value,
    holes: Holes,
}

/// Which part of a setting a fault is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The key.
    Key,
    /// The value.
    Value,
}

impl Layers<'_> {
    /// Merges and reads them.
    pub fn read(&self) -> Reading {
        let (document, syntax) = Document::parse(self.text);
        let mut origin = self.merge(document);
        let (model, found) = if syntax.is_empty() {
            let (model, misfits, holes) = decode::<Model>(origin.merged.clone());
            origin.holes = holes;
            let shown = misfits.iter().take(MISFITS_SHOWN_MAX);
            let mut found: Vec<_> = shown.map(|misfit| origin.misfit(misfit)).collect();
            found.extend(self.nearly_variables());
            (model, found)
        } else {
            // Values of a broken text would only bring faults that are none.
            (None, origin.syntax(syntax))
        };
        if model.is_none() {
            origin.holes.note(KeyPath::default());
        }
        Reading {
            model: model.unwrap_or_default(),
            origin,
            found,
        }
    }

    fn merge(&self, document: Document) -> Origin {
        let path = self.path.display().to_string();
        let mut layers = Figment::from(Layer::new(FILE, path, document.values.clone()));
        for (name, value) in self.variables() {
            let keys = name[VARIABLE_PREFIX.len()..].to_ascii_lowercase();
            let values = nested(keys.split("__"), value);
            layers = layers.merge(Layer::new(VARIABLE, name, values));
        }
        for (key, value) in self.sets {
            layers = layers.merge(Layer::new(FLAG, key, nested(key.split('.'), value)));
        }
        let values = layers.data().expect("no layer of ours fails");
        let merged = values.into_values().next().unwrap_or_default();
        Origin {
            source: Source::File(self.path.to_owned()),
            document,
            layers,
            merged: Value::Dict(Tag::Default, merged),
            holes: Holes::default(),
        }
    }

    /// Variables that would set a key if one `_` of theirs were two.
    fn nearly_variables(&self) -> impl Iterator<Item = Diagnostic> {
        self.environment.iter().filter_map(|(name, value)| {
            let rest = name.strip_prefix(VARIABLE_PREFIX)?;
            let (section, key) = rest.split_once('_').filter(|_| !rest.contains("__"))?;
            let keys = [section, key].map(str::to_ascii_lowercase);
            let values = nested(keys.iter().map(String::as_str), value);
            let (_, misfits, _) = decode::<Model>(Value::Dict(Tag::Default, values));
            let known = !misfits
                .iter()
                .any(|misfit| matches!(misfit.kind, MisfitKind::Key(..)));
            known.then(|| Diagnostic {
                severity: Severity::Warning,
                source: Source::Variable(name.clone()),
                location: None,
                key: KeyPath::default(),
                message: "this variable sets nothing".to_owned(),
                help: Some(format!("did you mean `{VARIABLE_PREFIX}{section}__{key}`?")),
            })
        })
    }

    /// The variables that are configuration, in the order of their names.
    fn variables(&self) -> Vec<(&str, &str)> {
        let mut found: Vec<_> = self
            .environment
            .iter()
            .filter(|(name, _)| {
                name.strip_prefix(VARIABLE_PREFIX)
                    .is_some_and(|rest| rest.contains("__"))
            })
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        found.sort_unstable();
        found
    }
}

/// `value` under all of `keys`.
fn nested<'k>(keys: impl Iterator<Item = &'k str>, value: &str) -> Dict {
    let mut value = lone_value(value);
    let keys: Vec<_> = keys.collect();
    for key in keys.into_iter().rev() {
        value = Value::Dict(Tag::Default, Dict::from([(key.to_owned(), value)]));
    }
    value.into_dict().unwrap_or_default()
}

impl Origin {
    /// For a single document: `value`, at its place in the model, read from `document`. Returns the
    /// model, as far as it could be read, and the faults.
    pub fn of_document(
        source: Source,
        document: Document,
        value: Value,
    ) -> (Option<Model>, Self, Vec<Diagnostic>) {
        let (model, misfits, holes) = decode::<Model>(value.clone());
        let mut origin = Self {
            source,
            document,
            layers: Figment::new(),
            merged: value,
            holes,
        };
        let shown = misfits.iter().take(MISFITS_SHOWN_MAX);
        let found = shown.map(|misfit| origin.misfit(misfit)).collect();
        (model, origin, found)
    }

    /// A document's text is not what it should be.
    pub fn syntax_of_document(source: Source, text: &Document, fault: SyntaxFault) -> Diagnostic {
        Diagnostic {
            severity: Severity::Error,
            source,
            location: Some(Location::new(text, fault.span)),
            key: KeyPath::default(),
            message: fault.message,
            help: None,
        }
    }

    /// A diagnostic about the value at `path` in the model.
    pub fn report(
        &self,
        severity: Severity,
        path: &KeyPath,
        part: Part,
        message: String,
        help: Option<String>,
    ) -> Diagnostic {
        self.report_original(severity, self.holes.original(path), part, message, help)
    }

    /// Whether a fault was already found at the location of this value. If so, its absence is not
    /// reported.
    pub fn explains(&self, path: &KeyPath) -> bool {
        self.holes.cover(&self.holes.original(path))
    }

    /// A diagnostic without a location.
    pub fn remark(&self, severity: Severity, message: String) -> Diagnostic {
        Diagnostic {
            severity,
            source: self.source.clone(),
            location: None,
            key: KeyPath::default(),
            message,
            help: None,
        }
    }

    /// A fault of the file as a whole, at some bytes of it.
    pub fn at_bytes(&self, span: std::ops::Range<usize>, message: String) -> Diagnostic {
        Diagnostic {
            severity: Severity::Error,
            source: self.source.clone(),
            location: Some(Location::new(&self.document, span)),
            key: KeyPath::default(),
            message,
            help: None,
        }
    }

    fn report_original(
        &self,
        severity: Severity,
        key: KeyPath,
        part: Part,
        message: String,
        help: Option<String>,
    ) -> Diagnostic {
        let (source, location) = self.locate(&key, part);
        let clip = |text| bounds::clipped(text, bounds::MESSAGE_BYTES_MAX);
        Diagnostic {
            severity,
            source,
            location,
            key,
            message: clip(message),
            help: help.map(clip),
        }
    }

    /// The location of a value. For a missing value, the location of the nearest table that would
    /// hold it.
    fn locate(&self, path: &KeyPath, part: Part) -> (Source, Option<Location>) {
        let mut value = &self.merged;
        let mut found = KeyPath::default();
        for step in &path.0 {
            let next = match value {
                Value::Dict(_, dict) => dict.get(step),
                Value::Array(_, list) => step.parse().ok().and_then(|at: usize| list.get(at)),
                _ => None,
            };
            let Some(next) = next else { break };
            found.0.push(step.clone());
            value = next;
        }
        let written = self.document.spans(&found);
        // A table may come from several layers; an operator would look at the file first.
        let layer = match (value, written) {
            (Value::Dict(..), Some(spans)) if spans.is_table => None,
            _ => self.layers.get_metadata(value.tag()),
        };
        if let Some(layer) = layer {
            let by = layer.source.as_ref().and_then(|source| source.custom());
            let by = by.unwrap_or_default().to_owned();
            match layer.name.as_ref() {
                VARIABLE => return (Source::Variable(by), None),
                FLAG => return (Source::Flag(by), None),
                _ => {}
            }
        }
        let location = written.map(|spans| {
            let span = match part {
                Part::Key if found == *path => spans.key.clone(),
                _ => spans.value.clone(),
            };
            Location::new(&self.document, span)
        });
        (self.source.clone(), location)
    }

    fn syntax(&self, faults: Vec<SyntaxFault>) -> Vec<Diagnostic> {
        let second = faults
            .iter()
            .any(|fault| self.second_heading(fault).is_some());
        let shown = |fault: SyntaxFault| {
            let help = self.second_heading(&fault);
            // Everything below a repeated heading is a duplicate too.
            let reported = help.is_some() || !second || fault.message != DUPLICATE;
            let one = self.at_bytes(fault.span, fault.message);
            reported.then_some(Diagnostic { help, ..one })
        };
        let mut found: Vec<_> = faults
            .into_iter()
            .filter_map(shown)
            .take(MISFITS_SHOWN_MAX)
            .collect();
        // A slip early in a line makes the rest of it look wrong too.
        found.sort_by_key(Diagnostic::line_and_column);
        found.dedup_by_key(|fault| fault.line_and_column().0);
        found
    }

    fn misfit(&mut self, misfit: &Misfit) -> Diagnostic {
        let message = misfit.kind.to_string();
        let (part, help) = match &misfit.kind {
            MisfitKind::Key(key, keys) => {
                if let Some(meant) = nearest(key, keys.iter().copied()) {
                    let above = misfit.path.parent().unwrap_or_default();
                    self.holes.note(above.join(meant));
                }
                (Part::Key, suggestion(key, keys.iter().copied()))
            }
            MisfitKind::Word(word, words) => (Part::Value, suggestion(word, words.iter().copied())),
            MisfitKind::Type { .. } | MisfitKind::Value(_) => (Part::Value, None),
        };
        let mut one =
            self.report_original(Severity::Error, misfit.path.clone(), part, message, help);
        if let MisfitKind::Type { expected, found } = &misfit.kind {
            one.help = match (expected.as_str(), found.as_str(), &one.source) {
                ("a list", "text", _) => Some("put it in brackets: `[\"…\"]`".to_owned()),
                ("a list", "a table", Source::Variable(_) | Source::Flag(_)) => {
                    Some("a list can only be set as a whole".to_owned())
                }
                ("a list", "a table", _) => self.table_for_list(&misfit.path),
                ("a table", "a list", _) => self.list_for_table(&misfit.path),
                _ => None,
            };
        }
        one
    }
}

/// Tables and lists of tables are easily written for one another: `[routes]` and `[[routes]]`.
impl Origin {
    /// How the list at `path` is written, which is a table in the text.
    fn table_for_list(&self, path: &KeyPath) -> Option<String> {
        let name = heading(path);
        let line = self.document.line(self.document.spans(path)?.value.start);
        if !line.starts_with('[') {
            return Some("put it in brackets: `[{ … }]`".to_owned());
        }
        // `[routes.chat]`, as upstreams are named.
        let inner = line.trim_start_matches('[').strip_prefix(&name);
        let inner = inner.and_then(|inner| inner.strip_prefix('.')?.split([']', '.']).next());
        Some(match inner {
            Some(inner) => format!("write `[[{name}]]`, and below it `name = \"{inner}\"`"),
            None => two_brackets(&name),
        })
    }

    /// How the table at `path` is written, which is a list in the text.
    fn list_for_table(&self, path: &KeyPath) -> Option<String> {
        let line = self.document.line(self.document.spans(path)?.value.start);
        line.strip_prefix("[[")?;
        let name = heading(path);
        Some(match path.0.as_slice() {
            [table] if names_freely(table) => {
                format!("write `[{table}.NAME]` for each, with its name in the heading")
            }
            _ => format!("write `[{name}]`, with single brackets: there is one of it"),
        })
    }

    /// What is meant by a second `[routes]`, which TOML takes for the same table once more.
    fn second_heading(&self, fault: &SyntaxFault) -> Option<String> {
        let line = self.document.line(fault.span.start);
        let name = line.strip_prefix('[')?.split(']').next()?.trim();
        let repeats = fault.message == DUPLICATE && LISTS.contains(&name);
        repeats.then(|| two_brackets(name))
    }
}

/// How TOML's parser names a key or a heading that is there already.
const DUPLICATE: &str = "duplicate key";
/// Lists of tables at the top.
const LISTS: [&str; 2] = ["listeners", "routes"];

fn two_brackets(name: &str) -> String {
    format!("write `[[{name}]]`, with two brackets, before each of them")
}

/// A place as headings name it, which do not count the elements of lists.
fn heading(path: &KeyPath) -> String {
    let counts = |step: &&String| step.bytes().all(|byte| byte.is_ascii_digit());
    let (first, rest) = path.0.split_at(1.min(path.0.len()));
    let names = rest.iter().filter(|step| !counts(step));
    KeyPath(first.iter().chain(names).cloned().collect()).to_string()
}

/// One layer: values and their origin.
struct Layer {
    kind: &'static str,
    written: String,
    values: Dict,
}

impl Layer {
    fn new(kind: &'static str, written: impl Into<String>, values: Dict) -> Self {
        Self {
            kind,
            written: written.into(),
            values,
        }
    }
}

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.kind).source(self.written.as_str())
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        Ok(Map::from([(Profile::Default, self.values.clone())]))
    }
}

#[cfg(test)]
mod tests;
