//! Evaluates conditions on principals. A comparison with an absent value fails, also `!=`. A
//! condition that refers to an ambiguous value does not hold, also under `not`: the backend may
//! read the value differently than the gateway.

use std::borrow::Cow;

use serde_json::Value;

use crate::config::expression::{Comparison, Expression, Operand, Test};
use crate::core::auth::Claims;

/// The values of a request that conditions refer to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RequestValue {
    /// Nothing.
    Absent,
    /// This, decoded.
    Text(String),
    /// Two values, or one that does not decode.
    Ambiguous,
}

/// What conditions look at.
pub struct Values<'v> {
    claims: &'v Claims,
    /// Values of the route's path parameters and of the query.
    request: &'v dyn Fn(&Operand) -> RequestValue,
}

impl<'v> Values<'v> {
    /// Claims alone.
    pub fn of(claims: &'v Claims) -> Self {
        Self {
            claims,
            request: &|_| RequestValue::Absent,
        }
    }

    /// Claims, and the values of `request` for `path:` and `query:`.
    pub fn with(claims: &'v Claims, request: &'v dyn Fn(&Operand) -> RequestValue) -> Self {
        Self { claims, request }
    }

    fn get(&self, operand: &Operand) -> Option<Cow<'_, Value>> {
        match operand {
            Operand::Claim(path) => self.claims.get(path).map(Cow::Borrowed),
            Operand::Text(text) => Some(Cow::Owned(Value::from(text.as_str()))),
            Operand::Path(_) | Operand::Query(_) => match (self.request)(operand) {
                RequestValue::Text(text) => Some(Cow::Owned(Value::from(text))),
                RequestValue::Absent | RequestValue::Ambiguous => None,
            },
        }
    }

    fn is_ambiguous(&self, operand: &Operand) -> bool {
        let of_request = matches!(operand, Operand::Path(_) | Operand::Query(_));
        of_request && (self.request)(operand) == RequestValue::Ambiguous
    }
}

/// The first of `expressions` that does not hold.
pub fn first_unmet<'e>(
    expressions: &'e [Expression],
    values: &Values<'_>,
) -> Option<&'e Expression> {
    expressions
        .iter()
        .find(|expression| !holds_all(expression, values))
}

fn holds_all(expression: &Expression, values: &Values<'_>) -> bool {
    let tests = expression.alternatives.iter().flatten();
    let ambiguous = |test: &Test| {
        let right = test.right.as_ref();
        values.is_ambiguous(&test.left)
            || right.is_some_and(|(_, right)| values.is_ambiguous(right))
    };
    let mut alternatives = expression.alternatives.iter();
    let holds = alternatives.any(|tests| tests.iter().all(|test| passes(test, values)));
    holds && !tests.clone().any(ambiguous)
}

fn passes(test: &Test, values: &Values<'_>) -> bool {
    let left = values.get(&test.left);
    let passed = match &test.right {
        None => left.is_some_and(|value| is_true(&value)),
        Some((comparison, right)) => match (left, values.get(right)) {
            (Some(left), Some(right)) => match comparison {
                Comparison::Equal => same(&left, &right),
                Comparison::Unequal => !same(&left, &right),
                Comparison::In => holds(&right, &left),
                Comparison::Contains => holds(&left, &right),
            },
            // If `!=` held for absent values, it would admit every client without the value; only
            // `not` does that.
            _ => false,
        },
    };
    passed != test.not
}

/// What a lone claim must be.
fn is_true(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(is) => *is,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(list) => !list.is_empty(),
        Value::Object(table) => !table.is_empty(),
    }
}

/// Texts are compared with numbers and truths as they would be written.
fn same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::String(text), value @ (Value::Number(_) | Value::Bool(_)))
        | (value @ (Value::Number(_) | Value::Bool(_)), Value::String(text)) => {
            let written = value.to_string();
            *text == written
        }
        _ => one == other,
    }
}

/// Whether a list has an element, a text of words has a word, or a table has a key.
fn holds(whole: &Value, part: &Value) -> bool {
    match (whole, part) {
        (Value::Array(list), part) => list.iter().any(|item| same(item, part)),
        (Value::String(words), Value::String(word)) => {
            !word.is_empty() && words.split_ascii_whitespace().any(|one| one == word)
        }
        (Value::Object(table), Value::String(key)) => table.contains_key(key),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn conditions_hold_or_do_not() {
        let Value::Object(table) = json!({
            "rooms": ["lobby", "7", 8], "scope": "chat read", "role": "admin", "level": 3,
            "banned": false, "ok": true, "grants": { "edit": {} }, "empty": "", "nothing": null,
        }) else {
            unreachable!("a table")
        };
        let claims = Claims(table);
        let request = |operand: &Operand| match operand {
            Operand::Path(name) if name == "room" => RequestValue::Text("7".to_owned()),
            Operand::Query(name) if name == "as" => RequestValue::Text("admin".to_owned()),
            Operand::Query(name) if name == "twice" => RequestValue::Ambiguous,
            _ => RequestValue::Absent,
        };
        let values = Values::with(&claims, &request);
        let check = |text: &str, expected: bool| {
            let expression: Expression = text.parse().expect(text);
            let unmet = first_unmet(std::slice::from_ref(&expression), &values);
            assert_eq!(unmet.is_none(), expected, "{text}");
        };
        check("path:room in claim:rooms", true);
        check("path:seat in claim:rooms", false);
        check("claim:rooms contains lobby", true);
        check("claim:rooms contains 8", true);
        check("claim:rooms contains 9", false);
        check("claim:scope contains chat", true);
        check("claim:scope contains cha", false);
        check("claim:scope contains ''", false);
        check("claim:grants contains edit", true);
        check("claim:role == query:as", true);
        check("claim:role == owner", false);
        check("claim:role != owner", true);
        check("claim:role != admin", false);
        check("claim:level == 3", true);
        check("claim:missing != owner", false);
        check("not claim:missing == owner", true);
        check("claim:missing == claim:missing", false);
        check("query:twice == admin", false);
        check("not query:twice == admin", false);
        check("not query:twice", false);
        check("query:twice == claim:sub or not query:twice", false);
        check("claim:role == query:twice or claim:role == admin", false);
        check("not query:missing", true);
        check("claim:role == owner or claim:role == admin", true);
        check("claim:ok and claim:role == owner or claim:level == 3", true);
        check("claim:ok and claim:role == owner", false);
        for (name, expected) in [
            ("ok", true),
            ("banned", false),
            ("empty", false),
            ("nothing", false),
            ("missing", false),
            ("rooms", true),
        ] {
            check(&format!("claim:{name}"), expected);
            check(&format!("not claim:{name}"), !expected);
        }
    }
}
