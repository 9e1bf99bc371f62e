//! The arguments of the commands about live sessions.

use clap::Args;
use form_urlencoded::Serializer;

use crate::base::session_id::SessionId;
use crate::cli::args::events::AboutArgs;
use crate::cli::args::target::AdminArgs;

pub(super) const SESSIONS_EXAMPLES: &str = "\
Examples:
  sessile sessions --sort -byte_rate          the highest rates first
  sessile sessions --sort -round_trip         slowest answers to pings first
  sessile sessions --principal ann --json     all about a user's sessions
  sessile sessions --principal ann --all --since 1d   live ones and those that ended
  sessile sessions --fleet --principal ann    on every gateway
  sessile why ann                             why they are where they are";

pub(super) const SEND_EXAMPLES: &str = "\
Examples:
  sessile send 01M8… 'maintenance at 5'           one session
  sessile send --principal 7 'maintenance at 5'   all of a user
  sessile send --group lobby 'maintenance at 5'   all of a group
  sessile send --route chat 'maintenance at 5'    all of a route
  sessile send --all 'maintenance at 5'           everyone";

/// Which sessions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
pub struct SelectionArgs {
    /// What it is about.
    #[command(flatten)]
    pub about: AboutArgs,
    /// Only with this affinity key, as the list shows it.
    #[arg(long, value_name = "KEY")]
    pub affinity_key: Option<String>,
    /// Only of this listener.
    #[arg(long, value_name = "NAME")]
    pub listener: Option<String>,
    /// Only for this requested host.
    #[arg(long, value_name = "HOST")]
    pub host: Option<String>,
    /// Only with this subprotocol.
    #[arg(long, value_name = "NAME")]
    pub subprotocol: Option<String>,
    /// Only those that are at least this old.
    #[arg(long, value_name = "TIME")]
    pub min_age: Option<String>,
    /// Only those that have been silent for at least this long.
    #[arg(long, value_name = "TIME")]
    pub min_idle: Option<String>,
    /// Only those with at least this many messages.
    #[arg(long, value_name = "COUNT")]
    pub min_messages: Option<u64>,
    /// Only those with at least this many bytes.
    #[arg(long, value_name = "COUNT")]
    pub min_bytes: Option<u64>,
}

impl SelectionArgs {
    /// Adds them to a query.
    pub fn append(&self, query: &mut Serializer<'_, String>) {
        let about = self.about.pairs();
        query.extend_pairs(
            about
                .iter()
                .filter_map(|(name, value)| Some((name, (*value)?))),
        );
        let texts = [
            ("key", &self.affinity_key),
            ("listener", &self.listener),
            ("host", &self.host),
            ("subprotocol", &self.subprotocol),
            ("min_age", &self.min_age),
            ("min_idle", &self.min_idle),
        ];
        for (name, value) in texts {
            query.extend_pairs(value.iter().map(|value| (name, value)));
        }
        for (name, value) in [
            ("min_messages", self.min_messages),
            ("min_bytes", self.min_bytes),
        ] {
            query.extend_pairs(value.map(|value| (name, value.to_string())));
        }
    }

    /// The target that publishing has for these filters; `None` if there is none.
    pub fn target(&self) -> Option<String> {
        let alone = |about: AboutArgs| {
            *self
                == Self {
                    about,
                    ..Self::default()
                }
        };
        let (principal, route) = (self.about.principal.clone(), self.about.route.clone());
        match (principal, route) {
            (Some(subject), None) => {
                let about = AboutArgs {
                    principal: Some(subject.clone()),
                    ..AboutArgs::default()
                };
                alone(about).then(|| format!("principal:{subject}"))
            }
            (None, Some(name)) => {
                let about = AboutArgs {
                    route: Some(name.clone()),
                    ..AboutArgs::default()
                };
                alone(about).then(|| format!("route:{name}"))
            }
            _ => None,
        }
    }

    /// Whether there is no filter.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// `sessile sessions`
#[derive(Debug, Args)]
pub struct SessionsArgs {
    /// Which sessions.
    #[command(flatten)]
    pub selection: SelectionArgs,
    /// Sort by `age`, `idle`, `bytes`, `messages`, `byte_rate`, `message_rate`, `round_trip`,
    /// `in_flight`, `expires`, `moves`, `idle_client` or `idle_backend`; with `-` in front the
    /// greatest first.
    #[arg(long, value_name = "NUMBER", allow_hyphen_values = true)]
    pub sort: Option<String>,
    /// Show the rates of now, measured over this time.
    #[arg(long, value_name = "TIME", num_args = 0..=1, default_missing_value = "1s")]
    pub rates: Option<String>,
    /// Show the list again every two seconds.
    #[arg(short, long)]
    pub watch: bool,
    /// List live sessions and those that ended, the newest first.
    #[arg(long, group = "past", conflicts_with_all = [
        "sort", "rates", "affinity_key", "listener", "host", "subprotocol", "min_age", "min_idle",
        "min_messages", "min_bytes",
    ])]
    pub all: bool,
    /// List sessions that ended instead, as `sessile ended` does.
    #[arg(long, group = "past", conflicts_with_all = [
        "sort", "rates", "watch", "affinity_key", "listener", "host", "subprotocol", "min_age",
        "min_idle", "min_messages", "min_bytes",
    ])]
    pub ended: bool,
    /// Of those that ended only those that did not end before this: a time, or how long ago, such
    /// as `1d`.
    #[arg(long, value_name = "TIME", requires = "past")]
    pub since: Option<String>,
    /// Only those that ended for this cause, such as `kicked`.
    #[arg(long, requires = "ended")]
    pub cause: Option<String>,
    /// Only those that this operator ended.
    #[arg(long, value_name = "NAME", requires = "ended")]
    pub operator: Option<String>,
    /// Sessions at most.
    #[arg(short, long, default_value_t = 100)]
    pub limit: usize,
    /// Of every gateway that follows the same etcd, as this one asks them (`admin.fleet`).
    #[arg(long)]
    pub fleet: bool,
    /// Print JSON instead of text.
    #[arg(long)]
    pub json: bool,
    /// Which gateway.
    #[command(flatten)]
    pub admin: AdminArgs,
}

/// `sessile kick`
#[derive(Debug, Args)]
pub struct KickArgs {
    /// Sessions, as `sessile sessions` lists them.
    #[arg(required = true, value_name = "ID")]
    pub ids: Vec<SessionId>,
    /// Close code: 1000 to 1003, 1007 to 1013 or 3000 to 4999.
    #[arg(long)]
    pub code: Option<u16>,
    /// The reason for the client, at most 123 bytes.
    #[arg(long)]
    pub reason: Option<String>,
    /// Which gateway.
    #[command(flatten)]
    pub admin: AdminArgs,
}

/// `sessile move`
#[derive(Debug, Args)]
pub struct MoveArgs {
    /// The session, as `sessile sessions` lists it.
    #[arg(value_name = "ID")]
    pub id: SessionId,
    /// The backend to try first; by default any other than the present one.
    #[arg(value_name = "BACKEND")]
    pub backend: Option<String>,
    /// Print JSON instead of text.
    #[arg(long)]
    pub json: bool,
    /// Which gateway.
    #[command(flatten)]
    pub admin: AdminArgs,
}

/// `sessile send`
#[derive(Debug, Args)]
pub struct SendArgs {
    /// The session's id and the text, or with a filter or --all only the text.
    #[arg(required = true, num_args = 1.., value_name = "ID> <TEXT")]
    pub words: Vec<String>,
    /// Which sessions.
    #[command(flatten)]
    pub selection: SelectionArgs,
    /// The sessions of this group, on all gateways.
    #[arg(long, value_name = "NAME", conflicts_with = "all")]
    pub group: Option<String>,
    /// Every session.
    #[arg(long)]
    pub all: bool,
    /// The text is base64; send the bytes as a binary message.
    #[arg(long)]
    pub base64: bool,
    /// Send to the backends, which take the message for one of the client's.
    #[arg(long)]
    pub to_backend: bool,
    /// Print JSON instead of text.
    #[arg(long)]
    pub json: bool,
    /// Which gateway.
    #[command(flatten)]
    pub admin: AdminArgs,
}

/// `sessile groups`
#[derive(Debug, Args)]
pub struct GroupsArgs {
    /// The group; without it the groups with most members are listed.
    #[arg(value_name = "GROUP")]
    pub group: Option<String>,
    /// Only groups whose names begin like this.
    #[arg(long, conflicts_with = "group")]
    pub prefix: Option<String>,
    /// Show who joins and leaves, until it is interrupted.
    #[arg(short, long, requires = "group")]
    pub watch: bool,
    /// Members or groups at most.
    #[arg(short, long, default_value_t = 100)]
    pub limit: usize,
    /// Print JSON instead of text.
    #[arg(long)]
    pub json: bool,
    /// Which gateway.
    #[command(flatten)]
    pub admin: AdminArgs,
}

/// `sessile tap`
#[derive(Debug, Args)]
pub struct TapArgs {
    /// The session, as `sessile sessions` lists it.
    #[arg(value_name = "ID")]
    pub id: SessionId,
    /// For how many seconds; at most 600.
    #[arg(long, default_value_t = 60)]
    pub seconds: u64,
    /// Frames at most.
    #[arg(long, default_value_t = 1000)]
    pub frames: u64,
    /// Show payload too, where the route has `tap_payload = true`.
    #[arg(long)]
    pub payload: bool,
    /// Print JSON, a line for each event, instead of text.
    #[arg(long)]
    pub json: bool,
    /// Which gateway.
    #[command(flatten)]
    pub admin: AdminArgs,
}

/// `sessile why`
#[derive(Debug, Args)]
pub struct WhyArgs {
    /// A principal, a session or a request id.
    #[arg(value_name = "USER|SESSION|REQUEST")]
    pub what: String,
    /// Of every gateway that follows the same etcd, as this one asks them (`admin.fleet`).
    #[arg(long)]
    pub fleet: bool,
    /// Print JSON instead of text.
    #[arg(long)]
    pub json: bool,
    /// Which gateway.
    #[command(flatten)]
    pub admin: AdminArgs,
}

/// `sessile top`
#[derive(Debug, Args)]
pub struct TopArgs {
    /// Which sessions.
    #[command(flatten)]
    pub selection: SelectionArgs,
    /// What counts: `bytes` or `messages`.
    #[arg(long, default_value = "bytes", value_parser = ["bytes", "messages"])]
    pub by: String,
    /// Measure over this time: 100ms to 10s.
    #[arg(long, value_name = "TIME", default_value = "1s")]
    pub interval: String,
    /// Sessions at most.
    #[arg(short, long, default_value_t = 20)]
    pub limit: usize,
    /// Measure once, print, and end.
    #[arg(long)]
    pub once: bool,
    /// Of every gateway that follows the same etcd, as this one asks them (`admin.fleet`).
    #[arg(long)]
    pub fleet: bool,
    /// Print JSON instead of text, once.
    #[arg(long)]
    pub json: bool,
    /// Which gateway.
    #[command(flatten)]
    pub admin: AdminArgs,
}
