//! `sessile etcd`: looks at what gateways follow in etcd, and changes it. A change is checked as a
//! gateway would check it, and shown with what it moves, before anything is written.

pub(super) mod access;
mod documents;
mod fleet;
mod store;
pub(super) mod undo;

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use anyhow::bail;
use etcd_client::Client;
use http::Method;
use serde_json::{Map, Value, json};
use tokio::runtime::Runtime;

use crate::admin::preview::Candidate;
use crate::admin::sources::Accepted;
use crate::admin::status::StatusView;
use crate::cli::args::AdminArgs;
use crate::cli::args::etcd::{
    AcceptArgs, ConfirmArgs, DiffArgs, EtcdCommandArgs, EtcdVerb, GatewayArgs, GetArgs, PutArgs,
    RmArgs, SeedArgs,
};
use crate::cli::args::register::EtcdArgs;
use crate::cli::ask::agreed;
use crate::cli::client::Client as AdminClient;
use crate::cli::etcd::access::Access;
use crate::cli::etcd::fleet::Answers;
use crate::cli::etcd::store::Documents;
use crate::cli::etcd::store::{Found, Op};
use crate::cli::preview::read;
use crate::cli::print::{self, visible};
use crate::config::model::masked;
use crate::control::etcd::snapshot;
use crate::control::load::LoadOptions;
use crate::control::supervisor::preview::Preview;

/// Done.
const OK: u8 = 0;
/// It was not confirmed.
const FAILED: u8 = 1;
/// What to add where there is no terminal.
const CONFIRM: &str = "add --yes to do it without a question, or --dry-run only to see it";
/// A document is refused.
const REFUSED: u8 = 2;

/// An etcd, and its documents.
struct Session {
    runtime: Runtime,
    access: Access,
    client: Client,
    found: Found,
    /// The gateway's own file, if there is one.
    base: Option<String>,
    options: LoadOptions,
    /// The gateway that previews a change.
    gateway: AdminArgs,
    /// Whether registered gateways get its token, and documents with secrets.
    fleet: bool,
}

/// The desired documents of a file.
struct Wanted {
    documents: Documents,
    prune: bool,
}

/// Runs the command.
///
/// # Errors
/// When etcd does not answer, a file cannot be read, or `out` cannot be written to.
pub(super) fn etcd(args: &EtcdCommandArgs, out: &mut dyn Write) -> anyhow::Result<u8> {
    match &args.verb {
        EtcdVerb::Get(args) => get(args, out),
        EtcdVerb::Put(args) => put(args, out),
        EtcdVerb::Diff(args) => diff(args, out),
        EtcdVerb::Rm(args) => rm(args, out),
        EtcdVerb::Seed(args) => seed(args, out),
        EtcdVerb::Accept(args) => accept(args, out),
    }
}

impl Session {
    fn begin(args: &EtcdArgs, gateway: &GatewayArgs) -> anyhow::Result<Self> {
        let access = Access::new(args)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let (client, found) = runtime.block_on(async {
            let mut client = store::connect(&access).await?;
            let found = store::read(&mut client, &access).await?;
            anyhow::Ok((client, found))
        })?;
        let options = args.config.options();
        Ok(Self {
            base: fs::read_to_string(&options.path).ok(),
            runtime,
            access,
            client,
            found,
            options,
            gateway: gateway.admin(&args.config),
            fleet: gateway.fleet,
        })
    }

    /// The documents of a file, or what is wrong with it.
    fn wanted(
        &self,
        path: &Path,
        text: &str,
        whole: bool,
        out: &mut dyn Write,
    ) -> anyhow::Result<Option<Documents>> {
        let options = LoadOptions {
            path: path.to_owned(),
            ..self.options.clone()
        };
        // For text that is no TOML, the check reports message and place.
        let (documents, others) = documents::of_text(text).unwrap_or_default();
        let mut context = match self.base.as_deref().map(documents::of_text) {
            Some(Ok((documents, _))) => documents,
            _ => Documents::new(),
        };
        context.extend(self.found.values());
        let faults = documents::check(&options, text, &documents, &others, &context);
        for fault in &faults {
            writeln!(out, "{fault}\n")?;
        }
        if !faults.is_empty() {
            writeln!(out, "{} is refused; nothing was written", path.display())?;
            return Ok(None);
        }
        if !whole && !others.is_empty() {
            let sections = others.join("], [");
            writeln!(
                out,
                "{}: [{sections}] does not live in etcd; `sessile etcd seed` leaves it out",
                path.display()
            )?;
            return Ok(None);
        }
        let wrong: Vec<_> = documents
            .keys()
            .filter(|key| !store::is_document(key))
            .collect();
        if let Some(key) = wrong.first() {
            writeln!(out, "`{key}` can be no key: names in etcd have no slash")?;
            return Ok(None);
        }
        Ok(Some(documents))
    }

    /// The writes that bring etcd to the desired state.
    fn ops(&self, wanted: &Wanted) -> Vec<Op> {
        let now = &self.found.documents;
        let mut ops: Vec<_> = wanted
            .documents
            .iter()
            .filter(|(key, value)| {
                now.get(*key).and_then(|stored| stored.value.as_ref()) != Some(value)
            })
            .map(|(key, value)| Op::Put(key.clone(), value.clone()))
            .collect();
        if wanted.prune {
            let gone = now
                .iter()
                .filter(|(key, stored)| !stored.leased && !wanted.documents.contains_key(*key));
            ops.extend(gone.map(|(key, _)| Op::Delete(key.clone())));
        }
        ops
    }

    /// Shows what `ops` would change. Answers whether a gateway would take it.
    fn show(&self, ops: &[Op], out: &mut dyn Write) -> anyhow::Result<bool> {
        for op in ops {
            describe(op, &self.found, out)?;
        }
        writeln!(out)?;
        let base = documents::base(&self.options, self.base.as_deref());
        let now = documents::stored(&self.found.values());
        let trial = snapshot::trial(&self.options, &base, now, documents::changes(ops));
        for fault in &trial.faults {
            writeln!(out, "{fault}\n")?;
        }
        for key in &trial.needed {
            writeln!(
                out,
                "error: something still names {}",
                visible(&key.to_string())
            )?;
        }
        if !(trial.faults.is_empty() && trial.needed.is_empty()) {
            writeln!(out, "refused; nothing was written")?;
            return Ok(false);
        }
        let offline = || Preview::of_snapshots(&trial.before, &trial.after);
        self.ask_gateways(ops).show(offline, out)?;
        Ok(true)
    }

    /// What these changes would do, live sessions included, as the gateways answer.
    fn ask_gateways(&self, ops: &[Op]) -> Answers {
        let documents = ops.iter().map(|op| match op {
            Op::Put(key, value) => (key.clone(), value.clone()),
            Op::Delete(key) => (key.clone(), Value::Null),
        });
        let candidate = Candidate {
            documents: documents.collect(),
            ..Candidate::default()
        };
        fleet::ask(&self.gateway, self.fleet, &self.found.gateways, &candidate)
    }

    /// Shows the changes, asks for confirmation, writes.
    fn apply(
        &mut self,
        ops: Vec<Op>,
        confirm: ConfirmArgs,
        out: &mut dyn Write,
    ) -> anyhow::Result<u8> {
        if ops.is_empty() {
            writeln!(out, "etcd has all of it already")?;
            return Ok(OK);
        }
        if !self.show(&ops, out)? {
            return Ok(REFUSED);
        }
        if confirm.dry_run {
            return Ok(OK);
        }
        if !confirm.yes && !agreed("write it?", CONFIRM, out)? {
            writeln!(out, "nothing was written")?;
            return Ok(FAILED);
        }
        let count = ops.len();
        let write = store::write(&mut self.client, &self.access, &self.found, ops);
        let transactions = self.runtime.block_on(write)?;
        let plural = if transactions == 1 { "" } else { "s" };
        writeln!(
            out,
            "written: {count} documents in {transactions} transaction{plural}"
        )?;
        Ok(OK)
    }
}

fn get(args: &GetArgs, out: &mut dyn Write) -> anyhow::Result<u8> {
    let session = Session::begin(&args.etcd, &GatewayArgs::default())?;
    let asked = |key: &str| {
        args.keys.is_empty()
            || args.keys.iter().any(|asked| {
                let rest = key.strip_prefix(asked.trim_end_matches('/'));
                rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            })
    };
    let mut documents = session.found.values();
    documents.retain(|key, _| asked(key));
    if args.json {
        let all: Map<String, Value> = documents.into_iter().collect();
        print::json(out, &json!(all), print::Form::Pretty)?;
    } else {
        writeln!(
            out,
            "# {} at revision {}",
            session.access.prefix, session.found.revision
        )?;
        write!(out, "{}", documents::to_text(&documents))?;
    }
    let missing = documents_missing(args, &session.found);
    for key in &missing {
        writeln!(out, "# there is no {}", visible(key))?;
    }
    Ok(if missing.is_empty() { OK } else { FAILED })
}

fn documents_missing(args: &GetArgs, found: &Found) -> Vec<String> {
    let there = |asked: &&String| {
        let folder = format!("{}/", asked.trim_end_matches('/'));
        found
            .documents
            .keys()
            .any(|key| key == *asked || key.starts_with(&folder))
    };
    args.keys
        .iter()
        .filter(|asked| !there(asked))
        .cloned()
        .collect()
}

fn put(args: &PutArgs, out: &mut dyn Write) -> anyhow::Result<u8> {
    let mut session = Session::begin(&args.change.etcd, &args.change.gateway)?;
    let text = read(&args.file)?;
    let Some(documents) = session.wanted(&args.file, &text, false, out)? else {
        return Ok(REFUSED);
    };
    let wanted = Wanted {
        documents,
        prune: args.prune,
    };
    let ops = session.ops(&wanted);
    session.apply(ops, args.change.confirm, out)
}

fn diff(args: &DiffArgs, out: &mut dyn Write) -> anyhow::Result<u8> {
    let mut session = Session::begin(&args.etcd, &args.gateway)?;
    let text = read(&args.file)?;
    let Some(documents) = session.wanted(&args.file, &text, true, out)? else {
        return Ok(REFUSED);
    };
    let wanted = Wanted {
        documents,
        prune: args.prune,
    };
    let ops = session.ops(&wanted);
    let confirm = ConfirmArgs {
        yes: false,
        dry_run: true,
    };
    session.apply(ops, confirm, out)
}

fn seed(args: &SeedArgs, out: &mut dyn Write) -> anyhow::Result<u8> {
    let mut session = Session::begin(&args.change.etcd, &args.change.gateway)?;
    let path = args.change.etcd.config.config.clone();
    let text = read(&path)?;
    let Some(documents) = session.wanted(&path, &text, true, out)? else {
        return Ok(REFUSED);
    };
    let wanted = Wanted {
        documents,
        prune: false,
    };
    let ops = session.ops(&wanted);
    session.apply(ops, args.change.confirm, out)
}

fn rm(args: &RmArgs, out: &mut dyn Write) -> anyhow::Result<u8> {
    let mut session = Session::begin(&args.change.etcd, &args.change.gateway)?;
    let mut ops = Vec::new();
    for key in &args.keys {
        match session.found.documents.get(key) {
            Some(stored) => {
                if stored.leased {
                    let key = visible(key);
                    writeln!(
                        out,
                        "{key} is under a lease: the process that registered it may put it back"
                    )?;
                }
                ops.push(Op::Delete(key.clone()));
            }
            None => bail!(
                "there is no {}; `sessile etcd get` shows what there is",
                visible(key)
            ),
        }
    }
    session.apply(ops, args.change.confirm, out)
}

/// One line, and what differs.
fn describe(op: &Op, found: &Found, out: &mut dyn Write) -> io::Result<()> {
    let key = visible(op.key());
    let before = found
        .documents
        .get(op.key())
        .and_then(|stored| stored.value.as_ref());
    match (op, before) {
        (Op::Delete(_), _) => writeln!(out, "- {key}"),
        (Op::Put(_, value), None) => writeln!(out, "+ {key}  {}", short(value)),
        (Op::Put(_, value), Some(before)) => {
            writeln!(out, "~ {key}")?;
            let table = |value: &'_ Value| value.as_object().cloned().unwrap_or_default();
            let (old, new) = (
                table(&masked(before.clone())),
                table(&masked(value.clone())),
            );
            let keys = old
                .keys()
                .chain(new.keys().filter(|key| !old.contains_key(*key)));
            let differs = |key: &&String| before.get(*key) != value.get(*key);
            for key in keys.filter(differs) {
                let shown = |of: &Map<String, Value>| of.get(key).map(short);
                let none = || "(not given)".to_owned();
                let (old, new) = (shown(&old), shown(&new));
                let (old, new) = (old.unwrap_or_else(none), new.unwrap_or_else(none));
                writeln!(out, "    {}: {old} -> {new}", visible(key))?;
            }
            Ok(())
        }
    }
}

/// A value on one line; what may be secret is not shown (I11).
fn short(value: &Value) -> String {
    const SHOWN: usize = 120;
    let mut text = masked(value.clone()).to_string();
    if text.chars().count() > SHOWN {
        text = text.chars().take(SHOWN).collect::<String>() + "…";
    }
    visible(&text)
}

fn accept(args: &AcceptArgs, out: &mut dyn Write) -> anyhow::Result<u8> {
    let gateway = AdminClient::new(&args.admin)?;
    let status: StatusView = gateway.get("/v1/status")?;
    let Some(etcd) = status.sources.etcd else {
        bail!("this gateway follows no etcd");
    };
    if etcd.doubted.is_empty() {
        writeln!(out, "nothing is doubted")?;
        return Ok(OK);
    }
    for key in &etcd.doubted {
        writeln!(out, "- {}", visible(key))?;
    }
    if args.confirm.dry_run {
        return Ok(OK);
    }
    if !args.confirm.yes && !agreed("let them go?", CONFIRM, out)? {
        writeln!(out, "they stay")?;
        return Ok(FAILED);
    }
    let accepted: Accepted = gateway.ask(Method::POST, "/v1/sources/etcd/accept", None::<&()>)?;
    writeln!(out, "accepted: {} documents go", accepted.documents)?;
    Ok(OK)
}
