//! `[node]`, `[admin]`, `[log]`.

use tracing_subscriber::filter::{LevelFilter, Targets};

use crate::base::addr::ListenAddr;
use crate::base::secret::Secret;
use crate::config::diagnostic::suggestion;
use crate::config::layers::Part;
use crate::config::limits::{NodeLimits, PrefixLengths};
use crate::config::model::{self, SecretSource, TextOr};
use crate::config::snapshot::{AccessOutput, Admin, Log, LogFormat, Node};
use crate::config::validate::Holds;
use crate::config::validate::listener::listener_tls;
use crate::config::validate::scope::Scope;

const WORKERS_MAX: usize = 1024;

pub(super) fn node(at: &Scope<'_>, model: &model::Node) -> Option<Node> {
    let name = match &model.name {
        Some(name) => at.key("name").name(name, Part::Value).map(str::to_owned),
        None => Some(at.outside().host_name()),
    };
    let workers = at.key("workers").within(model.workers, 0..=WORKERS_MAX);
    Some(Node {
        name: name?.into(),
        workers: workers?,
        state_dir: model.state_dir.as_ref().map(|path| at.resolve(path)),
    })
}

pub(super) fn limits(at: &Scope<'_>, model: &model::Node) -> Option<NodeLimits> {
    let prefix = at.key("address_prefix");
    let v4 = prefix.key("v4").within(model.address_prefix.v4, 8..=32);
    let v6 = prefix.key("v6").within(model.address_prefix.v6, 16..=128);
    Some(NodeLimits {
        sessions_max: model.sessions_max,
        handshakes_max: model.handshakes_max,
        memory_max: model.memory_max.map(|size| size.0),
        address_prefix: PrefixLengths { v4: v4?, v6: v6? },
    })
}

pub(super) fn admin(at: &Scope<'_>, model: &model::Admin) -> Option<Admin> {
    let listen = listen_address(&at.key("listen"), &model.listen);
    let socket_mode = socket_mode(&at.key("socket_mode"), &model.socket_mode);
    let token = match &model.token {
        Some(source) => secret(&at.key("token"), source).map(Some),
        None => Some(None),
    };
    let read_token = match &model.read_token {
        Some(source) => secret(&at.key("read_token"), source).map(Some),
        None => Some(None),
    };
    let tls = match &model.tls {
        Some(tls) => listener_tls(&at.key("tls"), tls).map(Some),
        None => Some(None),
    };
    let authority = model.tls.as_ref().and_then(|tls| tls.client_ca.as_ref());
    let unguarded = model.token.is_none() && authority.is_none();
    let unguarded = unguarded && !at.key("token").is_explained();
    if model.read_token.is_some() && model.token.is_none() && !at.key("token").is_explained() {
        at.key("read_token").fault_key(
            "without a `token` nobody could change anything, or everybody could",
            Some("add `token` beside it".to_owned()),
        );
    }
    if !model.operators.is_empty() && authority.is_none() {
        at.key("operators").fault_key(
            "certificates are not asked for",
            Some("add `tls.client_ca` beside it".to_owned()),
        );
    }
    if let Some(listen) = listen
        .as_ref()
        .filter(|listen| unguarded && !listen.is_local())
    {
        at.key("listen").fault_with(
            format!("{listen} can be reached from elsewhere, and there is no token"),
            "listen on `127.0.0.1:9900`, or add `token = { file = \"admin.token\" }` or \
             `tls.client_ca` to [admin]",
        );
    }
    Some(Admin {
        listen: listen?,
        socket_mode: socket_mode?,
        token: token?,
        read_token: read_token?,
        tls: tls?,
        operators: model.operators.clone(),
    })
}

/// An address to listen on; a unix socket's path may be relative to the configuration's directory.
pub(super) fn listen_address(at: &Scope<'_>, text: &str) -> Option<ListenAddr> {
    Some(match at.parse(text)? {
        ListenAddr::Unix(path) => ListenAddr::Unix(at.resolve(path)),
        tcp @ ListenAddr::Tcp(_) => tcp,
    })
}

/// Permissions of a unix socket's file, in octal as chmod(1) reads them.
pub(super) fn socket_mode(at: &Scope<'_>, text: &str) -> Option<u32> {
    let octal =
        matches!(text.len(), 3 | 4) && text.bytes().all(|digit| (b'0'..=b'7').contains(&digit));
    match u32::from_str_radix(text, 8) {
        Ok(mode) if octal && mode <= 0o777 && mode & 0o600 == 0o600 => Some(mode),
        _ => {
            let message = format!("`{text}` is not a mode that a socket can have");
            at.fault_with(
                message,
                "use \"0600\" (only the gateway's user connects), \"0660\" (its group too) or \
                 \"0666\" (every user)",
            );
            None
        }
    }
}

/// A secret that is presented in a header.
fn secret(at: &Scope<'_>, source: &SecretSource) -> Option<Secret> {
    let secret = secret_text(at, source)?;
    let text = secret.reveal();
    if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        at.fault("this secret is empty, or holds what cannot stand in a header");
        return None;
    }
    Some(secret)
}

/// Fetches a secret. No message here holds any of its text.
pub(super) fn secret_text(at: &Scope<'_>, source: &SecretSource) -> Option<Secret> {
    let text = match source {
        SecretSource::Literal(secret) => secret.reveal().to_owned(),
        SecretSource::File(path) => {
            let path = at.resolve(path);
            match at.outside().text(&path, Holds::Secret) {
                Ok(text) => text.trim().to_owned(),
                Err(why) => {
                    at.key("file")
                        .fault(format!("cannot read {}: {why}", path.display()));
                    return None;
                }
            }
        }
        SecretSource::Variable(name) => {
            let text = at.outside().variable(name);
            text.map_err(|why| at.key("env").fault(why)).ok()?
        }
    };
    if text.is_empty() {
        at.fault("this secret is empty, or holds what cannot stand in a header");
        return None;
    }
    Some(Secret::new(text))
}

pub(super) fn log(at: &Scope<'_>, model: &model::Log) -> Option<Log> {
    let level = level(&at.key("level"), &model.level);
    let access = access(&at.key("access"), &model.access);
    Some(Log {
        level: level?,
        format: match model.format {
            model::LogFormat::Text => LogFormat::Text,
            model::LogFormat::Json => LogFormat::Json,
        },
        access: access?,
    })
}

fn level(at: &Scope<'_>, text: &str) -> Option<String> {
    // A bare word that is no level would be taken for the name of a module.
    let meant = |part: &str| part.contains('=') || part.trim().parse::<LevelFilter>().is_ok();
    if text.split(',').all(meant) && text.parse::<Targets>().is_ok() {
        return Some(text.to_owned());
    }
    at.fault_with(
        format!("`{text}` is not a level"),
        "use `off`, `error`, `warn`, `info`, `debug` or `trace`, maybe by module as in \
         `info,sessile::control=debug`",
    );
    None
}

fn access(at: &Scope<'_>, model: &TextOr<model::AccessFile>) -> Option<AccessOutput> {
    Some(match model {
        TextOr::Text(word) if word == "off" => AccessOutput::Off,
        TextOr::Text(word) if word == "stdout" => AccessOutput::Stdout,
        TextOr::Text(word) => {
            let help = match word.contains(['/', '.']) {
                true => Some(format!("write `{{ file = {word:?} }}`")),
                false => suggestion(word, ["off", "stdout", "{ file = \"…\" }"]),
            };
            at.fault_maybe(format!("unknown word `{word}`"), help);
            return None;
        }
        TextOr::Table(table) => {
            let file = at.required("file", &table.file, "file = \"access.log\"")?;
            AccessOutput::File(at.resolve(file))
        }
    })
}
