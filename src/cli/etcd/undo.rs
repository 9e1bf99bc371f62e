//! `sessile history undo`: takes back what a revision of etcd changed, as long as etcd remembers
//! the content before and the same documents have not changed since.

use std::collections::BTreeSet;
use std::io::Write;

use anyhow::{anyhow, bail};

use crate::cli::args::etcd::UndoArgs;
use crate::cli::etcd::Session;
use crate::cli::etcd::store::{self, Found, Op, Stored};
use crate::cli::print::visible;

/// Shows the undo of a revision, asks, and writes it.
///
/// # Errors
/// When etcd does not answer, has forgotten the revision, or has newer versions of its documents.
pub(in crate::cli) fn undo(args: &UndoArgs, out: &mut dyn Write) -> anyhow::Result<u8> {
    let mut session = Session::begin(&args.change.etcd, &args.change.gateway)?;
    let (revision, newest) = (args.revision, session.found.revision);
    if revision > newest {
        bail!("etcd is at revision {newest}; there is no revision {revision} yet");
    }
    let read = async {
        let before = store::read_at(&mut session.client, &session.access, revision - 1).await?;
        let after = store::read_at(&mut session.client, &session.access, revision).await?;
        anyhow::Ok((before, after))
    };
    let (before, after) = session.runtime.block_on(read)?;
    let ops = ops(revision, &before, &after, &session.found)?;
    writeln!(out, "to take back revision {revision}:")?;
    session.apply(ops, args.change.confirm, out)
}

/// The writes that restore what was before `revision`.
fn ops(revision: i64, before: &Found, after: &Found, now: &Found) -> anyhow::Result<Vec<Op>> {
    let version = |found: &Found, key: &str| {
        let stored: Option<&Stored> = found.documents.get(key);
        stored.map(|stored| stored.mod_revision)
    };
    let keys = before.documents.keys().chain(after.documents.keys());
    let keys: BTreeSet<_> = keys
        .filter(|key| version(before, key) != version(after, key))
        .collect();
    if keys.is_empty() {
        bail!("revision {revision} changed no document; `sessile history` shows which ones did");
    }
    let undo = keys.into_iter().map(|key| {
        let shown = visible(key);
        if version(after, key) != version(now, key) {
            let since = version(now, key).map_or_else(
                || "was removed since".to_owned(),
                |since| format!("was changed since, at revision {since}"),
            );
            return Err(anyhow!("{shown} {since}; nothing was written"));
        }
        let of = |found: &Found| found.documents.get(key).is_some_and(|one| one.leased);
        if of(before) || of(after) {
            return Err(anyhow!(
                "{shown} is registered under a lease, and is up to its process; nothing was written"
            ));
        }
        match before.documents.get(key) {
            None => Ok(Op::Delete(key.clone())),
            Some(Stored {
                value: Some(value), ..
            }) => Ok(Op::Put(key.clone(), value.clone())),
            Some(_) => Err(anyhow!("{shown} was no JSON before; nothing was written")),
        }
    });
    undo.collect()
}

#[cfg(test)]
mod tests {
    use std::slice::from_ref;

    use serde_json::{Value, json};

    use super::*;

    /// Documents with their revisions.
    fn found(documents: &[(&str, i64, Option<Value>, bool)]) -> Found {
        let documents = documents.iter().map(|(key, revision, value, leased)| {
            let stored = Stored {
                value: value.clone(),
                mod_revision: *revision,
                leased: *leased,
            };
            ((*key).to_owned(), stored)
        });
        Found {
            revision: 50,
            documents: documents.collect(),
            gateways: Vec::new(),
        }
    }

    fn one(revision: i64, value: i64) -> (&'static str, i64, Option<Value>, bool) {
        ("routes/a", revision, Some(json!(value)), false)
    }

    #[test]
    fn what_was_before_is_restored() {
        let other = ("routes/b", 3, Some(json!("b")), false);
        let check = |before: &[_], after: &[_], expected: Op| {
            let (before, after) = (found(before), found(after));
            assert_eq!(ops(41, &before, &after, &after).expect("ops"), [expected]);
        };
        let put = |value: i64| Op::Put("routes/a".to_owned(), json!(value));
        check(
            &[one(7, 1), other.clone()],
            &[one(41, 2), other.clone()],
            put(1),
        );
        check(&[one(7, 1), other.clone()], from_ref(&other), put(1));
        let delete = Op::Delete("routes/a".to_owned());
        check(from_ref(&other), &[one(41, 2), other.clone()], delete);
    }

    #[test]
    fn what_cannot_be_restored_is_refused_whole() {
        let check = |before: &[_], after: &[_], now: &[_], expected: &str| {
            let refused = ops(41, &found(before), &found(after), &found(now));
            let said = refused.expect_err("it is refused").to_string();
            assert!(said.contains(expected), "{said}");
        };
        let (old, new) = (one(7, 1), one(41, 2));
        let later = [one(45, 3)];
        let (old, new) = (&[old], &[new]);
        check(
            old,
            new,
            &later,
            "routes/a was changed since, at revision 45",
        );
        check(old, new, &[], "routes/a was removed since");
        check(
            old,
            &[],
            &later,
            "routes/a was changed since, at revision 45",
        );
        check(old, old, old, "revision 41 changed no document");
        let text = [("routes/a", 7, None, false)];
        check(&text, new, new, "was no JSON before");
        let leased = [("backends/a/1", 41, Some(json!(1)), true)];
        check(&[], &leased, &leased, "under a lease");
        let expired = [("backends/a/1", 7, Some(json!(1)), true)];
        check(&expired, &[], &[], "under a lease");
    }
}
