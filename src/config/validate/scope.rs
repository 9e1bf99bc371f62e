//! A place in the model while it is being checked, and the checks that all places share.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use crate::base::work;
use crate::config::bounds::DIAGNOSTICS_MAX;
use crate::config::diagnostic::{Diagnostic, Severity, suggestion};
use crate::config::layers::{Origin, Part};
use crate::config::model::Time;
use crate::config::span::KeyPath;
use crate::config::validate::environment::Environment;

/// Names go into metrics, paths of the admin API and log lines.
const NAME_LEN_MAX: usize = 128;

/// One validation of a model: its inputs and its diagnostics.
pub(super) struct Check<'a> {
    origin: &'a Origin,
    directory: &'a Path,
    outside: &'a dyn Environment,
    found: RefCell<Vec<Diagnostic>>,
    /// Errors and warnings that were found beyond the bound.
    more: Cell<(usize, usize)>,
}

impl<'a> Check<'a> {
    pub(super) fn new(
        origin: &'a Origin,
        directory: &'a Path,
        outside: &'a dyn Environment,
    ) -> Self {
        Self {
            origin,
            directory,
            outside,
            found: RefCell::default(),
            more: Cell::default(),
        }
    }

    pub(super) fn root(&'a self) -> Scope<'a> {
        Scope {
            check: self,
            path: KeyPath::default(),
        }
    }

    /// What was found, in the order of the text, and how much more there is.
    pub(super) fn into_found(self) -> Vec<Diagnostic> {
        let mut found = self.found.into_inner();
        found.sort_by_key(Diagnostic::line_and_column);
        let (errors, warnings) = self.more.get();
        let remark = |severity, more, what| {
            let message = format!("there are {more} more {what}, which are not shown");
            (more > 0).then(|| self.origin.remark(severity, message))
        };
        found.extend(remark(Severity::Error, errors, "errors"));
        found.extend(remark(Severity::Warning, warnings, "warnings"));
        found
    }

    /// Whether another finding is only counted: showing one costs more than finding it. Errors and
    /// warnings have a bound each, so that many warnings do not hide an error.
    fn is_full(&self, severity: Severity) -> bool {
        let (errors, warnings) = self.more.get();
        let (more, shown_max) = match severity {
            Severity::Error => (errors, DIAGNOSTICS_MAX),
            Severity::Warning => (warnings, DIAGNOSTICS_MAX / 2),
        };
        let full = more > 0 || {
            let found = self.found.borrow();
            work::steps(found.len());
            let alike = found.iter().filter(|one| one.severity == severity);
            alike.count() >= shown_max
        };
        if full {
            self.more.set(match severity {
                Severity::Error => (errors + 1, warnings),
                Severity::Warning => (errors, warnings + 1),
            });
        }
        full
    }
}

/// Whether something can be called so.
pub(super) fn is_name(name: &str) -> bool {
    let letter = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    !name.is_empty() && name.len() <= NAME_LEN_MAX && name.chars().all(letter)
}

/// A place in the model.
#[derive(Clone)]
pub(super) struct Scope<'a> {
    check: &'a Check<'a>,
    path: KeyPath,
}

impl<'a> Scope<'a> {
    pub(super) fn key(&self, key: &str) -> Self {
        Self {
            check: self.check,
            path: self.path.join(key),
        }
    }

    pub(super) fn index(&self, index: usize) -> Self {
        self.key(&index.to_string())
    }

    /// An entry of one of the top tables.
    pub(super) fn top(&self, table: &str, key: &str) -> Self {
        self.check.root().key(table).key(key)
    }

    pub(super) fn outside(&self) -> &'a dyn Environment {
        self.check.outside
    }

    /// A path of the file system, from the configuration's directory if it is relative.
    pub(super) fn resolve(&self, path: impl AsRef<Path>) -> PathBuf {
        self.check.directory.join(path)
    }

    /// Whether the value here must never be shown (I11).
    pub(super) fn is_secret(&self) -> bool {
        self.path.is_secret()
    }

    /// Whether the fault that emptied this place has been reported already.
    pub(super) fn is_explained(&self) -> bool {
        self.check.origin.explains(&self.path)
    }

    fn report(&self, severity: Severity, part: Part, message: String, help: Option<String>) {
        if self.check.is_full(severity) {
            return;
        }
        let one = self
            .check
            .origin
            .report(severity, &self.path, part, message, help);
        self.check.found.borrow_mut().push(one);
    }

    /// Something is wrong with the value here.
    pub(super) fn fault(&self, message: impl Into<String>) {
        self.report(Severity::Error, Part::Value, message.into(), None);
    }

    /// The same, with what would be right.
    pub(super) fn fault_with(&self, message: impl Into<String>, help: impl Into<String>) {
        self.report(
            Severity::Error,
            Part::Value,
            message.into(),
            Some(help.into()),
        );
    }

    /// The same, with the remedy if known.
    pub(super) fn fault_maybe(&self, message: String, help: Option<String>) {
        self.report(Severity::Error, Part::Value, message, help);
    }

    /// The same, with the name that was probably meant. It is looked for only where it is shown.
    pub(super) fn fault_near<'k>(
        &self,
        message: String,
        given: &str,
        known: impl IntoIterator<Item = &'k str>,
    ) {
        if self.check.found.borrow().len() < DIAGNOSTICS_MAX {
            self.report(
                Severity::Error,
                Part::Value,
                message,
                suggestion(given, known),
            );
        } else {
            self.report(Severity::Error, Part::Value, message, None);
        }
    }

    /// Whether a list is no longer than it may be.
    pub(super) fn few(&self, length: usize, max: usize) -> Option<()> {
        if length > max {
            self.fault(format!("{length} entries are too many; use at most {max}"));
        }
        (length <= max).then_some(())
    }

    /// Something is wrong with the key here.
    pub(super) fn fault_key(&self, message: impl Into<String>, help: Option<String>) {
        self.report(Severity::Error, Part::Key, message.into(), help);
    }

    /// Something here is probably not meant.
    pub(super) fn warn(&self, message: impl Into<String>) {
        self.report(Severity::Warning, Part::Value, message.into(), None);
    }

    /// The same, with what would be right.
    pub(super) fn warn_with(&self, message: impl Into<String>, help: impl Into<String>) {
        let (message, help) = (message.into(), help.into());
        self.report(Severity::Warning, Part::Value, message, Some(help));
    }

    /// Reports a missing required key, unless that has been reported.
    pub(super) fn missing(&self, key: &str, example: &str) {
        if !self.key(key).is_explained() {
            self.fault_with(format!("`{key}` is missing"), format!("add `{example}`"));
        }
    }

    /// The value of a required key.
    pub(super) fn required<'m, T>(
        &self,
        key: &str,
        value: &'m Option<T>,
        example: &str,
    ) -> Option<&'m T> {
        if value.is_none() {
            self.missing(key, example);
        }
        value.as_ref()
    }

    /// Parses the text here; the type's own error has the remedy.
    pub(super) fn parse<T: FromStr<Err: Display>>(&self, text: &str) -> Option<T> {
        text.parse()
            .map_err(|error: T::Err| self.fault(error.to_string()))
            .ok()
    }

    /// The number here, if it lies in `bounds`.
    pub(super) fn within<T>(&self, value: T, bounds: RangeInclusive<T>) -> Option<T>
    where
        T: PartialOrd + Display + Copy,
    {
        if bounds.contains(&value) {
            return Some(value);
        }
        let (low, high) = (bounds.start(), bounds.end());
        self.fault(format!("{value} is out of bounds; use {low} to {high}"));
        None
    }

    /// The time here: more than nothing, and at most `max`.
    pub(super) fn time(&self, Time(time): Time, max: Duration) -> Option<Duration> {
        let shown = humantime::format_duration;
        if time.is_zero() {
            self.fault_with("this time is zero", "use at least `\"1ms\"`");
        } else if time > max {
            let message = format!("{} is too long; use at most {}", shown(time), shown(max));
            self.fault(message);
        } else {
            return Some(time);
        }
        None
    }

    /// The time between two of many: at least `min`, so that they do not take all there is.
    pub(super) fn interval(&self, time: Time, min: Duration, max: Duration) -> Option<Duration> {
        let checked = self.time(time, max)?;
        if checked < min {
            let shown = humantime::format_duration;
            let message = format!(
                "{} is too short; use at least {}",
                shown(checked),
                shown(min)
            );
            self.fault(message);
            return None;
        }
        Some(checked)
    }

    /// The time here, which may be none.
    pub(super) fn time_or_zero(&self, time: Time, max: Duration) -> Option<Duration> {
        if time.0.is_zero() {
            return Some(Duration::ZERO);
        }
        self.time(time, max)
    }

    /// A name that is valid in metrics, paths and log lines.
    pub(super) fn name<'m>(&self, name: &'m str, part: Part) -> Option<&'m str> {
        if is_name(name) {
            return Some(name);
        }
        let help = format!("use 1 to {NAME_LEN_MAX} letters, digits, `-`, `_` and `.`");
        let message = format!("`{name}` is not a name");
        self.report(Severity::Error, part, message, Some(help));
        None
    }

    /// Reports names that occur twice among this list's elements.
    pub(super) fn distinct<'m>(&self, what: &str, names: impl Iterator<Item = Option<&'m str>>) {
        let mut seen = HashMap::new();
        for (index, name) in names.enumerate() {
            let Some(name) = name else { continue };
            if seen.insert(name, index).is_some() {
                self.index(index)
                    .key("name")
                    .fault(format!("two {what} are named `{name}`"));
            }
        }
    }

    /// Every element of a list checked; none if one of them is at fault.
    pub(super) fn each<T, U>(
        &self,
        items: &[T],
        mut check: impl FnMut(&Self, &T) -> Option<U>,
    ) -> Option<Vec<U>> {
        let checked: Vec<_> = items
            .iter()
            .enumerate()
            .map(|(index, item)| check(&self.index(index), item))
            .collect();
        all(checked)
    }
}

/// All or none, after every one of them has been looked at.
pub(super) fn all<T>(checked: Vec<Option<T>>) -> Option<Vec<T>> {
    checked.into_iter().collect()
}
