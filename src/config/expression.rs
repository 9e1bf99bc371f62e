//! Conditions on principals: `path:room in claim:rooms`, `claim:scope contains chat`, `claim:role
//! == admin or claim:role == owner`, `not claim:banned`. This file parses them; `core::auth`
//! evaluates them.

use std::fmt;
use std::str::FromStr;

/// Bytes of a condition.
const BYTES_MAX: usize = 4096;
/// Tests in one.
const TESTS_MAX: usize = 64;
/// Bytes of a name in one.
const NAME_BYTES_MAX: usize = 256;

/// The name of a claim: whole, or steps into tables parted by dots.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ClaimPath(pub String);

/// Alternatives, of which one must hold wholly.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expression {
    text: String,
    /// `or` of `and`.
    pub alternatives: Vec<Vec<Test>>,
}

/// One test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Test {
    /// Whether it must not hold.
    pub not: bool,
    /// What is looked at.
    pub left: Operand,
    /// What it is compared with; none: whether it is there and true.
    pub right: Option<(Comparison, Operand)>,
}

/// How two things are compared. With something that is not there, none of them holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// `==`
    Equal,
    /// `!=`
    Unequal,
    /// `in`: the left is an element of the right.
    In,
    /// `contains`: the right is an element of the left.
    Contains,
}

/// Something that has a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operand {
    /// `claim:NAME`
    Claim(ClaimPath),
    /// `path:NAME`, a parameter of the route's path, decoded.
    Path(String),
    /// `query:NAME`, decoded.
    Query(String),
    /// A word, or a text in quotes.
    Text(String),
}

/// The text is no condition; the message has the reason and an example.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExpressionError {
    /// Nothing there.
    #[error("this condition is empty; write `claim:role == admin`")]
    Empty,
    /// Too much of it.
    #[error("a condition of {0} bytes is too long; use at most {BYTES_MAX}")]
    TooLong(usize),
    /// Too many parts.
    #[error("a condition has at most {TESTS_MAX} tests")]
    TooMany,
    /// Too long a name.
    #[error("a name of {0} bytes is too long; use at most {NAME_BYTES_MAX}")]
    Name(usize),
    /// A quote that does not end.
    #[error("the text that begins with `{0}` has no closing quote")]
    Quote(char),
    /// A test breaks off.
    #[error("something is missing after `{0}`")]
    Missing(String),
    /// Not a comparison.
    #[error("`{0}` is not a comparison; use `==`, `!=`, `in` or `contains`")]
    Comparison(String),
    /// Only operands with a name behind them.
    #[error("`{0}` names nothing; write `{0}NAME`")]
    Unnamed(String),
    /// A word alone is always true.
    #[error("`{0}` is not a condition by itself; write `claim:{0}`, or compare it with something")]
    Word(String),
    /// A kind that is none.
    #[error("unknown source `{0}:`; use `claim:`, `path:` or `query:`, or put the text in quotes")]
    Source(String),
}

impl FromStr for ClaimPath {
    type Err = ExpressionError;

    fn from_str(text: &str) -> Result<Self, ExpressionError> {
        match text.strip_prefix("claim:") {
            Some("") => Err(ExpressionError::Unnamed(text.to_owned())),
            Some(name) if name.len() > NAME_BYTES_MAX => Err(ExpressionError::Name(name.len())),
            Some(name) => Ok(Self(name.to_owned())),
            None => Err(ExpressionError::Word(text.to_owned())),
        }
    }
}

impl fmt::Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Expression {
    /// Everything that it looks at.
    pub fn operands(&self) -> impl Iterator<Item = &Operand> {
        self.alternatives.iter().flatten().flat_map(|test| {
            let right = test.right.as_ref().map(|(_, right)| right);
            std::iter::once(&test.left).chain(right)
        })
    }
}

impl FromStr for Expression {
    type Err = ExpressionError;

    fn from_str(text: &str) -> Result<Self, ExpressionError> {
        if text.len() > BYTES_MAX {
            return Err(ExpressionError::TooLong(text.len()));
        }
        let words = words(text)?;
        if words.is_empty() {
            return Err(ExpressionError::Empty);
        }
        let mut words = words.into_iter().peekable();
        let mut alternatives = vec![Vec::new()];
        for count in 1.. {
            if count > TESTS_MAX {
                return Err(ExpressionError::TooMany);
            }
            let test = test(&mut words)?;
            alternatives.last_mut().expect("there is one").push(test);
            let Some(word) = words.next() else { break };
            match word.bare() {
                Some("or") => alternatives.push(Vec::new()),
                Some("and") => {}
                _ => return Err(ExpressionError::Comparison(word.text)),
            }
            if words.peek().is_none() {
                return Err(ExpressionError::Missing(word.text));
            }
        }
        Ok(Self {
            text: text.trim().to_owned(),
            alternatives,
        })
    }
}

#[derive(Debug)]
struct Word {
    text: String,
    quoted: bool,
}

impl Word {
    fn bare(&self) -> Option<&str> {
        (!self.quoted).then_some(&*self.text)
    }
}

fn words(text: &str) -> Result<Vec<Word>, ExpressionError> {
    let mut words = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let (word, left) = if matches!(first, '"' | '\'') {
            let inner = &rest[1..];
            let end = inner.find(first).ok_or(ExpressionError::Quote(first))?;
            (&inner[..end], &inner[end + 1..])
        } else {
            let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
            (&rest[..end], &rest[end..])
        };
        words.push(Word {
            text: word.to_owned(),
            quoted: matches!(first, '"' | '\''),
        });
        rest = left.trim_start();
    }
    Ok(words)
}

type Words = std::iter::Peekable<std::vec::IntoIter<Word>>;

fn test(words: &mut Words) -> Result<Test, ExpressionError> {
    let not = words.next_if(|word| word.bare() == Some("not")).is_some();
    let first = words
        .next()
        .ok_or_else(|| ExpressionError::Missing("not".to_owned()))?;
    let shown = first.text.clone();
    let left = operand(first)?;
    let over = |word: &Word| matches!(word.bare(), Some("or" | "and"));
    if words.peek().is_none_or(over) {
        return match left {
            Operand::Text(word) => Err(ExpressionError::Word(word)),
            left => Ok(Test {
                not,
                left,
                right: None,
            }),
        };
    }
    let word = words.next().expect("it was seen");
    let comparison = match word.bare() {
        Some("==") => Comparison::Equal,
        Some("!=") => Comparison::Unequal,
        Some("in") => Comparison::In,
        Some("contains") => Comparison::Contains,
        _ => return Err(ExpressionError::Comparison(word.text)),
    };
    let right = words
        .next()
        .ok_or_else(|| ExpressionError::Missing(format!("{shown} {}", word.text)))?;
    Ok(Test {
        not,
        left,
        right: Some((comparison, operand(right)?)),
    })
}

fn operand(word: Word) -> Result<Operand, ExpressionError> {
    if word.quoted {
        return Ok(Operand::Text(word.text));
    }
    let Some((kind, name)) = word.text.split_once(':') else {
        return Ok(Operand::Text(word.text));
    };
    if name.is_empty() {
        return Err(ExpressionError::Unnamed(word.text));
    }
    if name.len() > NAME_BYTES_MAX {
        return Err(ExpressionError::Name(name.len()));
    }
    let name = name.to_owned();
    match kind {
        "claim" => Ok(Operand::Claim(ClaimPath(name))),
        "path" => Ok(Operand::Path(name)),
        "query" => Ok(Operand::Query(name)),
        other => Err(ExpressionError::Source(other.to_owned())),
    }
}

#[cfg(test)]
mod tests;
