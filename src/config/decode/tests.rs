use std::collections::BTreeMap;

use figment::value::{Dict, Tag};
use proptest::prelude::*;
use serde::Deserialize;

use super::*;

#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Sample {
    numbers: Vec<u16>,
    inner: Inner,
    word: Option<Word>,
    tables: BTreeMap<String, Vec<Inner>>,
}

#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Inner {
    name: String,
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Word {
    First,
    Second,
}

fn faults(text: &str) -> Vec<String> {
    let (document, _) = crate::config::span::Document::parse(text);
    let (read, misfits, _) = decode::<Sample>(Value::Dict(Tag::Default, document.values));
    assert!(read.is_some());
    let shown = |misfit: &Misfit| format!("{}: {}", misfit.path, misfit.kind);
    misfits.iter().map(shown).collect()
}

#[test]
fn every_misfit_is_found_at_its_place() {
    let check = |text: &str, expected: &[&str]| assert_eq!(faults(text), expected, "{text}");
    check("numbers = [1, 2]\nword = \"first\"", &[]);
    check(
        "inner = [\"name\"]\nword = 1",
        &[
            "inner: expected a table, found a list",
            "word: expected `first` or `second`, found a whole number",
        ],
    );
    check(
        "tables.a = [{ nam = 1 }, { name = 2 }]",
        &[
            "tables.a[0].nam: unknown key `nam`",
            "tables.a[1].name: expected text, found a whole number",
        ],
    );
    check(
        "numbers = [70000]",
        &["numbers[0]: expected a whole number from 0 to 65535, found 70000"],
    );
    check("word = \"third\"", &["word: unknown word `third`"]);
    check(
        "word.first = 1",
        &["word: expected `first` or `second`, found a table"],
    );
}

proptest! {
    #[test]
    fn what_fits_is_kept_and_what_does_not_is_named_by_its_first_place(
        elements in prop::collection::vec(prop::option::of(any::<u16>()), 0..60)
    ) {
        let value = |element: &Option<u16>| match element {
            Some(number) => Value::from(i64::from(*number)),
            None => Value::from("no number"),
        };
        let list = Value::Array(Tag::Default, elements.iter().map(value).collect());
        let values = Dict::from([("numbers".to_owned(), list)]);
        let (read, misfits, holes) = decode::<Sample>(Value::Dict(Tag::Default, values));

        let kept: Vec<_> = elements.iter().flatten().copied().collect();
        prop_assert_eq!(read.expect("fewer faults than the limit").numbers, kept);
        let at = |place: usize| KeyPath(vec!["numbers".to_owned(), place.to_string()]);
        let (good, bad): (Vec<_>, Vec<_>) =
            (0..elements.len()).partition(|place| elements[*place].is_some());
        let named: Vec<_> = misfits.into_iter().map(|misfit| misfit.path).collect();
        prop_assert_eq!(named, bad.into_iter().map(at).collect::<Vec<_>>());
        for (now, first) in good.into_iter().enumerate() {
            prop_assert_eq!(holes.original(&at(now)), at(first));
        }
    }
}

#[test]
fn too_many_faults_end_the_reading() {
    let list = vec![Value::from("no number"); FAULTS_MAX + 50];
    let values = Dict::from([("numbers".to_owned(), Value::Array(Tag::Default, list))]);
    let (read, misfits, _) = decode::<Sample>(Value::Dict(Tag::Default, values));
    assert_eq!((read, misfits.len()), (None, FAULTS_MAX));
}
