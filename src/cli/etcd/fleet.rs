//! What each gateway of the fleet answers to a change: the live sessions are its own.
//!
//! The gateways of the fleet are listed in etcd, where every tenant with the right to write
//! `gateways/` can put any address. So the token and documents with secrets go only to the gateway
//! that the operator names, unless `--fleet` says that registered addresses are trusted. A gateway
//! that answers under another name than it is registered with does not count: an address such as a
//! socket's path means another gateway on another machine.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::thread;

use anyhow::{Context as _, bail};
use http::Method;

use crate::admin::preview::Candidate;
use crate::admin::status::StatusView;
use crate::cli::args::{AdminAddr, AdminArgs};
use crate::cli::client::Client;
use crate::cli::preview::{show, show_sessions};
use crate::cli::print::{counted, visible};
use crate::config::model::masked;
use crate::control::fleet::Entry;
use crate::control::supervisor::preview::Preview;

/// Registered gateways that are asked at most.
const ASKED_MAX: usize = 64;
/// Bytes of an entry of a gateway at most.
pub(super) const ENTRY_BYTES_MAX: usize = 4096;
const UNTRUSTED: &str =
    "the documents hold secrets, which go to a registered address only with --fleet";

/// What gateways answered, by name.
#[derive(Default)]
pub(super) struct Answers {
    answered: BTreeMap<String, Preview>,
    /// Why others did not.
    missing: BTreeMap<String, String>,
    /// Why the gateway that the operator names did not.
    named: Option<String>,
}

/// Asks the gateway that `named` means and those that are registered, all at once.
pub(super) fn ask(
    named: &AdminArgs,
    trusted: bool,
    registered: &[Entry],
    candidate: &Candidate,
) -> Answers {
    let mut answers = Answers::default();
    let client = Client::new(named).map_err(anyhow::Error::from);
    let first = client
        .as_ref()
        .map(|client| preview(client, None, candidate));
    match first {
        Ok(Ok((node, preview))) => {
            answers.answered.insert(node, preview);
        }
        Ok(Err(error)) => answers.named = Some(format!("{error:#}")),
        Err(error) => answers.named = Some(format!("{error:#}")),
    }
    let known = |one: &&Entry| !answers.answered.contains_key(&one.node);
    let (asked, rest) = {
        let mut others: Vec<_> = registered.iter().filter(known).collect();
        let rest = others.split_off(others.len().min(ASKED_MAX));
        (others, rest)
    };
    let secret = holds_secrets(candidate) && !trusted;
    let ask_one = |one: &Entry| {
        if secret {
            bail!(UNTRUSTED);
        }
        let at: AdminAddr = one.admin.parse().context("its entry in etcd")?;
        let client = match &client {
            Ok(client) if trusted => client.at(named, &at)?,
            _ => Client::without_credentials(named, &at)?,
        };
        preview(&client, Some(&one.node), candidate).map(|(_, preview)| preview)
    };
    let results: Vec<_> = thread::scope(|scope| {
        let running: Vec<_> = asked
            .iter()
            .map(|one| scope.spawn(|| ask_one(one)))
            .collect();
        let joined = running.into_iter().map(|one| one.join());
        joined
            .map(|result| result.expect("asking a gateway does not panic"))
            .collect()
    });
    for (one, result) in asked.into_iter().zip(results) {
        let place = format!("{} ({})", one.node, one.admin);
        match result {
            Ok(preview) => {
                answers.answered.insert(one.node.clone(), preview);
            }
            Err(error) => {
                answers.missing.insert(place, format!("{error:#}"));
            }
        }
    }
    for one in rest {
        let reason = format!("more than {ASKED_MAX} are registered");
        answers.missing.insert(one.node.clone(), reason);
    }
    answers
}

/// The name of a gateway, and its answer. `registered` is the name that it should have.
fn preview(
    client: &Client,
    registered: Option<&str>,
    candidate: &Candidate,
) -> anyhow::Result<(String, Preview)> {
    let status: StatusView = client.get("/v1/status")?;
    if let Some(name) = registered.filter(|name| *name != status.node) {
        bail!("gateway `{}` answers there, not `{name}`", status.node);
    }
    let preview = client.ask(Method::POST, "/v1/preview", Some(candidate))?;
    Ok((status.node, preview))
}

fn holds_secrets(candidate: &Candidate) -> bool {
    let mut values = candidate.documents.values();
    values.any(|value| masked(value.clone()) != *value)
}

impl Answers {
    /// Shows them; `offline` is what the documents alone tell.
    pub(super) fn show(
        &self,
        offline: impl FnOnce() -> Preview,
        out: &mut dyn Write,
    ) -> io::Result<()> {
        if let Some(error) = &self.named {
            let error = visible(error);
            match self.answered.is_empty() {
                true => writeln!(out, "live sessions are not counted: {error}")?,
                false => writeln!(out, "the gateway of --admin did not answer: {error}")?,
            }
        }
        let alone = self.answered.len() == 1 && self.missing.is_empty();
        let mut answered = self.answered.iter();
        match answered.next() {
            None => show(out, &offline())?,
            Some((_, preview)) if alone => show(out, preview)?,
            Some((node, preview)) => {
                writeln!(out, "gateway {}:", visible(node))?;
                show(out, preview)?;
            }
        }
        for (node, preview) in answered {
            writeln!(out, "\ngateway {}:", visible(node))?;
            show_sessions(out, preview)?;
        }
        if !self.missing.is_empty() {
            let (some, all) = (
                self.answered.len(),
                self.answered.len() + self.missing.len(),
            );
            let gateways = counted(all as u64, "gateway");
            writeln!(
                out,
                "\npartial: {some} of {gateways} answered; not asked or silent:"
            )?;
            for (node, reason) in &self.missing {
                writeln!(out, "  {}: {}", visible(node), visible(reason))?;
            }
        }
        Ok(())
    }
}
