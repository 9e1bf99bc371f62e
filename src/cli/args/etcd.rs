//! The arguments of `sessile etcd`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::cli::args::register::EtcdArgs;
use crate::cli::args::target::{AdminAddr, AdminArgs, ConfigArgs};

pub(super) const EXAMPLES: &str = "\
Examples:
  sessile etcd seed                    put what ./gateway.toml says into its own etcd
  sessile etcd get > now.toml          everything that is there, as put takes it
  sessile etcd diff next.toml          what would next.toml change
  sessile etcd put next.toml           check it, show what it changes, ask, write
  sessile etcd rm routes/old backends/chat/10.0.0.5:9000
  sessile etcd accept                  what this gateway doubts to be gone is to go

etcd is that of [sources.etcd] in ./gateway.toml, or --etcd http://127.0.0.1:2379.

Exit codes: 0 done, 1 failed or not confirmed, 2 refused.";

/// `sessile etcd`
#[derive(Debug, Args)]
pub struct EtcdCommandArgs {
    /// What to do.
    #[command(subcommand)]
    pub verb: EtcdVerb,
}

/// A verb of `sessile etcd`.
#[derive(Debug, Subcommand)]
pub enum EtcdVerb {
    /// Write the documents of a file to etcd. Documents that the file does not name stay.
    Put(PutArgs),
    /// Print documents as a file that `put` takes.
    Get(GetArgs),
    /// Show what `put` of a file would change, and which keys would move.
    Diff(DiffArgs),
    /// Take documents out of etcd.
    Rm(RmArgs),
    /// Put routes, upstreams, authenticators, revocations and backends of a gateway.toml into etcd.
    ///
    /// Only the file is read; environment variables and --set flags are ignored.
    Seed(SeedArgs),
    /// Confirm the removal of doubted documents: those missing from etcd without a deletion event.
    Accept(AcceptArgs),
}

/// How a change is confirmed.
#[derive(Clone, Copy, Debug, Args)]
pub struct ConfirmArgs {
    /// Do not ask for confirmation.
    #[arg(long)]
    pub yes: bool,
    /// Check and show only.
    #[arg(long)]
    pub dry_run: bool,
}

/// The gateway that previews a change of documents.
#[derive(Clone, Debug, Default, Args)]
pub struct GatewayArgs {
    /// Its admin API. Default: the address in the configuration file, or 127.0.0.1:9900 without a
    /// file.
    #[arg(long, value_name = "ADDRESS")]
    pub admin: Option<AdminAddr>,
    /// A file that holds its admin token.
    #[arg(long, value_name = "PATH")]
    pub token_file: Option<PathBuf>,
    /// Trust the addresses under which gateways are registered in etcd: they get the token, and
    /// documents that hold secrets. Without it they are asked without a token.
    #[arg(long)]
    pub fleet: bool,
}

impl GatewayArgs {
    /// The same as the arguments of the verbs that only query a gateway.
    pub fn admin(&self, config: &ConfigArgs) -> AdminArgs {
        AdminArgs {
            admin: self.admin.clone(),
            token_file: self.token_file.clone(),
            ca: None,
            cert: None,
            key: None,
            server_name: None,
            config: config.clone(),
        }
    }
}

/// A change of documents.
#[derive(Clone, Debug, Args)]
pub struct ChangeArgs {
    /// How it is confirmed.
    #[command(flatten)]
    pub confirm: ConfirmArgs,
    /// The gateway that previews the change.
    #[command(flatten)]
    pub gateway: GatewayArgs,
    /// Which etcd.
    #[command(flatten)]
    pub etcd: EtcdArgs,
}

/// `sessile etcd put`
#[derive(Debug, Args)]
pub struct PutArgs {
    /// The file; `-` is standard input.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Remove documents that the file does not name, except backends with a lease.
    #[arg(long)]
    pub prune: bool,
    /// How it is made.
    #[command(flatten)]
    pub change: ChangeArgs,
}

/// `sessile etcd get`
#[derive(Debug, Args)]
pub struct GetArgs {
    /// Only these: `routes`, `routes/chat`, `backends/chat`. All if none is given.
    #[arg(value_name = "KEY")]
    pub keys: Vec<String>,
    /// Print JSON, by key.
    #[arg(long)]
    pub json: bool,
    /// Which etcd.
    #[command(flatten)]
    pub etcd: EtcdArgs,
}

/// `sessile etcd diff`
#[derive(Debug, Args)]
pub struct DiffArgs {
    /// The file; `-` is standard input.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Include the removal of documents that the file does not name.
    #[arg(long)]
    pub prune: bool,
    /// The gateway that previews the change.
    #[command(flatten)]
    pub gateway: GatewayArgs,
    /// Which etcd.
    #[command(flatten)]
    pub etcd: EtcdArgs,
}

/// `sessile etcd rm`
#[derive(Debug, Args)]
pub struct RmArgs {
    /// `routes/chat`, `upstreams/chat`, `backends/chat/10.0.0.5:9000`
    #[arg(required = true, value_name = "KEY")]
    pub keys: Vec<String>,
    /// How it is made.
    #[command(flatten)]
    pub change: ChangeArgs,
}

/// `sessile etcd seed`
#[derive(Debug, Args)]
pub struct SeedArgs {
    /// How it is made; the file is that of etcd's settings.
    #[command(flatten)]
    pub change: ChangeArgs,
}

/// `sessile etcd accept`
#[derive(Debug, Args)]
pub struct AcceptArgs {
    /// How it is confirmed.
    #[command(flatten)]
    pub confirm: ConfirmArgs,
    /// The gateway to confirm to. Each gateway of a fleet needs its own confirmation.
    #[command(flatten)]
    pub admin: AdminArgs,
}

/// `sessile history undo`
#[derive(Debug, Args)]
pub struct UndoArgs {
    /// The revision of etcd, as `sessile history` shows it.
    #[arg(value_name = "REVISION", value_parser = clap::value_parser!(i64).range(2..))]
    pub revision: i64,
    /// How it is made.
    #[command(flatten)]
    pub change: ChangeArgs,
}
