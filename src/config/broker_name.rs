//! Names at a broker under which other services publish, with placeholders for properties of a
//! session: `nats:chat.{room}`. What clients bring fills the placeholders, so each value is refused
//! that would make another name of it than the operator wrote.

use std::fmt;
use std::ops::Range;
use std::str::FromStr;
use std::sync::Arc;

use crate::config::snapshot::BrokerKind;

/// Longest value of a placeholder.
const VALUE_MAX: usize = 128;
/// Characters that separate parts of names by convention. A value may not have one that the pattern
/// has: `{room}` in `chat:{room}` must not reach `chat:7:admin`.
const SEPARATORS: [char; 4] = ['.', ':', '/', '|'];
/// Longest name, and longest topic of Kafka.
const NAME_MAX: usize = 255;
const TOPIC_MAX: usize = 249;
const PLACEHOLDERS_MAX: usize = 8;
const LETTERS: &str = "xyzabcdefghijklmnopqrstuvw0123456789";
const NOT_APART: &str = "has the text that separates it from another value";

/// A pattern of names at one kind of broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokerName {
    kind: BrokerKind,
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(Arc<str>),
    Placeholder(Arc<str>),
}

/// A text is no pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternFault {
    /// It does not begin with a kind of broker.
    #[error("`{0}` does not begin with `nats:`, `redis:`, `rabbitmq:`, `kafka:` or `memory:`")]
    Kind(String),
    /// Braces do not pair, or what is between them is no name.
    #[error("`{0}` has a brace that is no part of a placeholder such as `{{room}}`")]
    Placeholder(String),
    /// More placeholders than any name needs.
    #[error("there are more than {PLACEHOLDERS_MAX} placeholders")]
    Placeholders,
    /// Nothing separates two placeholders, so that one could end anywhere in the other.
    #[error("`{0}` has two placeholders without a text between them")]
    Adjacent(String),
    /// RabbitMQ: the exchange is missing, or depends on the session.
    #[error("a name of RabbitMQ is `EXCHANGE/ROUTING.KEY`, with placeholders in the key only")]
    Exchange,
    /// Kafka: the topic depends on the session. Each gateway reads whole topics, so a client must
    /// not choose which.
    #[error("a name of Kafka is `TOPIC` or `TOPIC/KEY`, with placeholders in the key only")]
    Topic,
    /// The broker has no such name.
    #[error("{0} has no such names: {1}")]
    Name(BrokerKind, &'static str),
}

/// A pattern cannot be filled for a session.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FillFault {
    /// The session has no such property.
    #[error("there is no `{0}`")]
    Missing(Arc<str>),
    /// A value would change the name.
    #[error("`{0}` {1}")]
    Value(Arc<str>, &'static str),
    /// The whole is no name.
    #[error("the name {0}")]
    Name(&'static str),
    /// The gateways' own messages travel there.
    #[error("the name is reserved for the gateways")]
    Own,
}

impl FromStr for BrokerName {
    type Err = PatternFault;

    fn from_str(text: &str) -> Result<Self, PatternFault> {
        let unknown = || PatternFault::Kind(text.to_owned());
        let (kind, name) = text.split_once(':').ok_or_else(unknown)?;
        let kind = match kind {
            "nats" => BrokerKind::Nats,
            "redis" => BrokerKind::Redis,
            "rabbitmq" => BrokerKind::RabbitMq,
            "kafka" => BrokerKind::Kafka,
            "memory" => BrokerKind::Memory,
            _ => return Err(unknown()),
        };
        let parts = parts(name).ok_or_else(|| PatternFault::Placeholder(text.to_owned()))?;
        let pattern = Self { kind, parts };
        if pattern.placeholders().count() > PLACEHOLDERS_MAX {
            return Err(PatternFault::Placeholders);
        }
        let is_placeholder = |part: &Part| matches!(part, Part::Placeholder(_));
        let adjacent = |pair: &[Part]| pair.iter().all(is_placeholder);
        if pattern.parts.windows(2).any(adjacent) {
            return Err(PatternFault::Adjacent(text.to_owned()));
        }
        let holder = pattern.holder();
        if kind == BrokerKind::RabbitMq && holder.is_none() {
            return Err(PatternFault::Exchange);
        }
        if kind == BrokerKind::Kafka && holder.is_none() && pattern.placeholders().count() > 0 {
            return Err(PatternFault::Topic);
        }
        // Any value that is fit will do to see whether the rest is.
        let mut letters = (0..LETTERS.len()).map(|at| &LETTERS[at..=at]);
        let fit = letters.find(|one| !pattern.separators().any(|text| text.contains(one)));
        match pattern.joined(|_| Some(fit.unwrap_or("x"))) {
            Ok(_) => Ok(pattern),
            Err(FillFault::Name(reason) | FillFault::Value(_, reason)) => {
                Err(PatternFault::Name(kind, reason))
            }
            Err(FillFault::Missing(_) | FillFault::Own) => Ok(pattern),
        }
    }
}

/// Text and placeholders in turn; `None` if a brace is no part of a placeholder.
fn parts(name: &str) -> Option<Vec<Part>> {
    let (mut parts, mut rest) = (Vec::new(), name);
    while !rest.is_empty() {
        let (text, after) = match rest.split_once('{') {
            Some((text, after)) => (text, Some(after)),
            None => (rest, None),
        };
        if text.contains('}') {
            return None;
        }
        if !text.is_empty() {
            parts.push(Part::Text(text.into()));
        }
        let Some(after) = after else { break };
        let (placeholder, after) = after.split_once('}')?;
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_:-".contains(&byte);
        if placeholder.is_empty() || !placeholder.bytes().all(plain) {
            return None;
        }
        parts.push(Part::Placeholder(placeholder.into()));
        rest = after;
    }
    Some(parts)
}

impl BrokerName {
    /// How names begin, without the colon.
    pub const KINDS: [&str; 5] = ["nats", "redis", "rabbitmq", "kafka", "memory"];

    /// The text before the first slash, if no placeholder stands there: RabbitMQ's exchange,
    /// Kafka's topic.
    fn holder(&self) -> Option<&str> {
        let Some(Part::Text(text)) = self.parts.first() else {
            return None;
        };
        let holder = text.split_once('/').map(|(holder, _)| holder);
        holder.filter(|holder| !holder.is_empty())
    }

    /// The pattern without the kind of its broker.
    pub fn name(&self) -> String {
        self.parts.iter().map(Part::to_string).collect()
    }

    /// The kind of broker that has the name.
    pub fn kind(&self) -> BrokerKind {
        self.kind
    }

    /// What the placeholders name, in the order of the text.
    pub fn placeholders(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(|part| match part {
            Part::Placeholder(name) => Some(&**name),
            Part::Text(_) => None,
        })
    }

    /// The texts between two placeholders.
    fn separators(&self) -> impl Iterator<Item = &str> {
        self.parts.windows(3).filter_map(|parts| match parts {
            [Part::Placeholder(_), Part::Text(text), Part::Placeholder(_)] => Some(&**text),
            _ => None,
        })
    }

    /// The name for one session. `prefix` is that of the gateways' own names.
    ///
    /// # Errors
    /// When a value is missing or would change the meaning of the name, or the name is one of the
    /// gateways' own.
    pub fn fill<'v>(
        &self,
        prefix: &str,
        value: impl Fn(&str) -> Option<&'v str>,
    ) -> Result<Arc<str>, FillFault> {
        let name = self.joined(value)?;
        match is_own(self.kind, &name, prefix) {
            true => Err(FillFault::Own),
            false => Ok(name.into()),
        }
    }

    fn joined<'v>(&self, value: impl Fn(&str) -> Option<&'v str>) -> Result<String, FillFault> {
        let mut name = String::new();
        // Where the value before is.
        let mut before: Option<Range<usize>> = None;
        for part in &self.parts {
            let placeholder = match part {
                Part::Placeholder(placeholder) => placeholder,
                Part::Text(text) => {
                    name.push_str(text);
                    continue;
                }
            };
            let missing = || FillFault::Missing(Arc::clone(placeholder));
            let value = value(placeholder).ok_or_else(missing)?;
            let start = name.len();
            name.push_str(value);
            let place = start..name.len();
            let checked = self.check(value, start == 0);
            let checked = checked.and_then(|()| match before.replace(place) {
                Some(one) => is_apart(&name[one.start..], one.len()..start - one.start),
                None => Ok(()),
            });
            checked.map_err(|reason| FillFault::Value(Arc::clone(placeholder), reason))?;
        }
        check_name(self.kind, &name).map_err(FillFault::Name)?;
        Ok(name)
    }

    /// Whether a value is one part of a name and nothing else.
    fn check(&self, value: &str, is_first: bool) -> Result<(), &'static str> {
        if value.is_empty() || value.len() > VALUE_MAX {
            return Err("is empty or longer than 128 bytes");
        }
        let special: &[char] = match self.kind {
            BrokerKind::Nats => &['.', '*', '>'],
            BrokerKind::RabbitMq => &['.', '*', '#', '/'],
            BrokerKind::Kafka => &['/'],
            BrokerKind::Memory | BrokerKind::Redis => &[],
        };
        let separates = |letter: char| {
            let is_text = |part: &Part| matches!(part, Part::Text(text) if text.contains(letter));
            SEPARATORS.contains(&letter) && self.parts.iter().any(is_text)
        };
        if value.contains(|c: char| special.contains(&c) || separates(c)) {
            return Err("has a character that separates or matches parts of names");
        }
        if self.separators().any(|text| value.contains(text)) {
            return Err(NOT_APART);
        }
        if value.contains(|c: char| c.is_whitespace() || c.is_control()) {
            return Err("has white space or control characters");
        }
        // Bytes that are no UTF-8 were replaced by it.
        if value.contains(char::REPLACEMENT_CHARACTER) {
            return Err("is no text");
        }
        if is_first && value.starts_with(['$', '_']) {
            return Err("begins like a name of the broker's own");
        }
        Ok(())
    }
}

/// Whether the text between two values is nowhere else in both, not even over their edges: then no
/// other values make the same name.
fn is_apart(both: &str, between: Range<usize>) -> Result<(), &'static str> {
    let (text, place) = (&both[between.clone()], Some(between.start));
    match both.find(text) == place && both.rfind(text) == place {
        true => Ok(()),
        false => Err(NOT_APART),
    }
}

/// Whether the broker has such names at all; patterns of names are none.
fn check_name(kind: BrokerKind, name: &str) -> Result<(), &'static str> {
    if name.is_empty() || name.len() > NAME_MAX {
        return Err("is empty or too long");
    }
    if name.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Err("has white space or control characters");
    }
    let fits = match kind {
        BrokerKind::Nats => {
            !name.contains(['*', '>']) && name.split('.').all(|token| !token.is_empty())
        }
        BrokerKind::Memory | BrokerKind::Redis => true,
        BrokerKind::RabbitMq => !name.contains(['*', '#']),
        BrokerKind::Kafka => {
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
            let (topic, key) = topic_and_key(name);
            let plain = topic.bytes().all(plain) && !["", ".", ".."].contains(&topic);
            plain && topic.len() <= TOPIC_MAX && key != Some("")
        }
    };
    match fits {
        true => Ok(()),
        false => Err("has wildcards, empty parts, or characters that names do not have"),
    }
}

/// A name of Kafka: a topic, and the key of the records that are meant; `None`: all records.
pub fn topic_and_key(name: &str) -> (&str, Option<&str>) {
    match name.split_once('/') {
        Some((topic, key)) => (topic, Some(key)),
        None => (name, None),
    }
}

/// Whether messages of the gateways travel under a name.
fn is_own(kind: BrokerKind, name: &str, prefix: &str) -> bool {
    let below = |rest: &str| rest.is_empty() || rest.starts_with('.');
    match kind {
        BrokerKind::Memory => false,
        BrokerKind::Nats | BrokerKind::Redis => name.strip_prefix(prefix).is_some_and(below),
        BrokerKind::RabbitMq => name.split('/').next() == Some(prefix),
        BrokerKind::Kafka => topic_and_key(name).0 == prefix,
    }
}

impl fmt::Display for BrokerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.kind)?;
        self.parts.iter().try_for_each(|part| part.fmt(f))
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Placeholder(name) => write!(f, "{{{name}}}"),
        }
    }
}

impl FillFault {
    /// The kind of fault, for metrics.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Missing(_) => "missing",
            Self::Value(..) => "value",
            Self::Name(_) => "name",
            Self::Own => "own",
        }
    }
}

#[cfg(test)]
mod tests;
