//! `[broker]`.

use std::sync::Arc;
use std::time::Duration;

use http::Uri;

use crate::base::addr::BackendAddr;
use crate::base::target_scope::Scope as TargetScope;
use crate::config::broker_name::{BrokerName, FillFault};
use crate::config::model;
use crate::config::snapshot::{Broker, BrokerKind, BrokerServer, PresenceTo, ServiceTls, SignIn};
use crate::config::validate::scope::Scope;
use crate::config::validate::service;
use crate::config::validate::values::{secret_text, text_without_secrets};

const CONNECT_MAX: Duration = Duration::from_secs(60);
const SERVERS_MAX: usize = 64;
/// Entries of `presence`, and groups of each.
const PRESENCE_MAX: usize = 100;
/// Kafka's names are at most 249 bytes, and a foreign name may follow none of ours.
const PREFIX_MAX: usize = 64;
/// Longest text of a user or a URL.
pub(super) const TEXT_MAX: usize = 255;

/// How the URLs of a kind begin, without TLS and with it, and the port where they name none.
pub(super) struct Form {
    pub(super) plain: &'static str,
    pub(super) encrypted: &'static str,
    pub(super) ports: (u16, u16),
    /// The table where user and password stand.
    pub(super) section: &'static str,
    /// Whether a path is a virtual host.
    pub(super) has_virtual_host: bool,
}

const fn form(kind: BrokerKind) -> Option<Form> {
    let (plain, encrypted, ports) = match kind {
        BrokerKind::Memory => return None,
        BrokerKind::Nats => ("nats", "tls", (4222, 4222)),
        BrokerKind::Redis => ("redis", "rediss", (6379, 6379)),
        BrokerKind::RabbitMq => ("amqp", "amqps", (5672, 5671)),
        BrokerKind::Kafka => ("kafka", "kafkas", (9092, 9093)),
    };
    Some(Form {
        plain,
        encrypted,
        ports,
        section: "broker",
        has_virtual_host: matches!(kind, BrokerKind::RabbitMq),
    })
}

/// Whether this build has the driver.
const fn is_built(kind: BrokerKind) -> bool {
    match kind {
        BrokerKind::Memory => true,
        BrokerKind::Nats => cfg!(feature = "nats"),
        BrokerKind::Redis => cfg!(feature = "redis"),
        BrokerKind::RabbitMq => cfg!(feature = "rabbitmq"),
        BrokerKind::Kafka => cfg!(feature = "kafka"),
    }
}

/// `None` inside where there is no broker.
pub(super) fn optional(at: &Scope<'_>, model: Option<&model::Broker>) -> Option<Option<Broker>> {
    match model {
        Some(model) => broker(at, model).map(Some),
        None => Some(None),
    }
}

fn broker(at: &Scope<'_>, model: &model::Broker) -> Option<Broker> {
    let kind = model.kind;
    if !is_built(kind) {
        at.key("type").fault_with(
            format!("this build has no driver for {kind}"),
            format!("build with `--features {kind}`, or use the packages, which have all of them"),
        );
        return None;
    }
    let prefix = prefix(&at.key("prefix"), &model.prefix);
    let servers = match form(kind) {
        Some(form) => servers(&at.key("servers"), model, &form),
        None => no_servers(at, model),
    };
    let sign_in = sign_in(at, model);
    mechanism(at, model)?;
    let tls = match &model.tls {
        Some(tls) => service::tls(&at.key("tls"), tls),
        None => Some(ServiceTls::default()),
    };
    let connect_timeout = at.key("connect_timeout");
    let connect_timeout = connect_timeout.time(model.connect_timeout, CONNECT_MAX);
    let presence = presence(&at.key("presence"), model);
    if matches!(sign_in, Some(SignIn::Password(..) | SignIn::Token(_)))
        && let Some(servers) = &servers
        && let Some(open) = servers.iter().position(crosses_in_the_clear)
    {
        let at = at.key("servers").index(open);
        at.warn("the password would cross the network in the clear");
    }
    Some(Broker {
        kind,
        servers: servers?,
        prefix: prefix?,
        sign_in: sign_in?,
        mechanism: model.mechanism.unwrap_or_default(),
        tls: tls?,
        connect_timeout: connect_timeout?,
        presence: presence?,
    })
}

/// `[[broker.presence]]`
fn presence(at: &Scope<'_>, model: &model::Broker) -> Option<Vec<PresenceTo>> {
    at.few(model.presence.len(), PRESENCE_MAX)?;
    at.each(&model.presence, |at, one| {
        let example = "to = \"nats:presence.{group}\"";
        let written = at.required("to", &one.to, example)?;
        let groups = at.key("groups");
        if one.groups.is_empty() && !groups.is_explained() {
            groups.fault_with(
                "joins and leaves of no group are published",
                "name groups: `groups = [\"lobby\", \"room-*\"]`",
            );
            return None;
        }
        groups.few(one.groups.len(), PRESENCE_MAX)?;
        let groups = groups.each(&one.groups, |at, name| {
            at.parse::<TargetScope>(&format!("group:{name}"))
        });
        Some(PresenceTo {
            groups: groups?,
            to: presence_name(&at.key("to"), written, model)?,
        })
    })
}

/// A name in which the group is the only placeholder.
fn presence_name(at: &Scope<'_>, written: &str, model: &model::Broker) -> Option<BrokerName> {
    let name = at.parse::<BrokerName>(written)?;
    let (kind, configured) = (name.kind(), model.kind);
    if kind != configured {
        at.fault_with(
            format!("this is a name of {kind}, and the broker is {configured}"),
            format!("write `{configured}:{}`", name.name()),
        );
        return None;
    }
    if let Some(other) = name.placeholders().find(|one| *one != "group") {
        at.fault_with(
            format!("there is no `{{{other}}}` here"),
            "use `{group}`, which is the name of the group",
        );
        return None;
    }
    if let Err(fault @ FillFault::Own) = name.fill(&model.prefix, |_| Some("x")) {
        at.fault_with(
            fault.to_string(),
            "publish under a name that does not begin with `prefix` of [broker]",
        );
        return None;
    }
    Some(name)
}

pub(super) fn crosses_in_the_clear(server: &BrokerServer) -> bool {
    let local = match &server.address {
        BackendAddr::Ip(address) => address.ip().is_loopback(),
        BackendAddr::Host(name, _) => &**name == "localhost",
        BackendAddr::Unix(_) => true,
    };
    !server.encrypted && !local
}

/// Memory has no servers, so that a forgotten `type` does not pass unnoticed.
fn no_servers(at: &Scope<'_>, model: &model::Broker) -> Option<Vec<BrokerServer>> {
    let written = [
        ("servers", !model.servers.is_empty()),
        ("user", model.user.is_some()),
        ("password", model.password.is_some()),
        ("token", model.token.is_some()),
        ("tls", model.tls.is_some()),
    ];
    let mut written = written.iter().filter(|(_, is)| *is).peekable();
    let none = written.peek().is_none();
    for (key, _) in written {
        at.key(key).fault_with(
            "the broker `memory` has no servers",
            "set `type` to \"nats\", \"redis\", \"rabbitmq\" or \"kafka\", or take this out",
        );
    }
    none.then(Vec::new)
}

fn servers(at: &Scope<'_>, model: &model::Broker, form: &Form) -> Option<Vec<BrokerServer>> {
    if model.servers.is_empty() {
        if !at.is_explained() {
            let (plain, port) = (form.plain, form.ports.0);
            at.fault_with(
                format!("the broker `{}` needs at least one server", model.kind),
                format!("add `servers = [\"{plain}://127.0.0.1:{port}\"]`"),
            );
        }
        return None;
    }
    at.few(model.servers.len(), SERVERS_MAX)?;
    let servers = at.each(&model.servers, |at, url| {
        server(at, url, &model.kind.to_string(), form)
    })?;
    for (index, server) in servers.iter().enumerate() {
        let at = at.index(index);
        if model.tls.is_some() && !server.encrypted {
            at.fault_with(
                "this server is not encrypted, and there is a `tls` table",
                format!("begin it with `{}://`, or take `tls` out", form.encrypted),
            );
            return None;
        }
        if server.encrypted != servers[0].encrypted {
            at.fault_with(
                "some servers are encrypted and some are not",
                "begin all of them with the same scheme",
            );
            return None;
        }
    }
    Some(servers)
}

/// The server of a URL. `kind` is what it is called in faults.
pub(super) fn server(at: &Scope<'_>, url: &str, kind: &str, form: &Form) -> Option<BrokerServer> {
    let (plain, encrypted, (port, encrypted_port)) = (form.plain, form.encrypted, form.ports);
    let shown = text_without_secrets(url);
    let help = format!("write `{plain}://10.0.0.1:{port}`, or `{encrypted}://…` for TLS");
    let Some(uri) = url.parse::<Uri>().ok().filter(|_| url.len() <= TEXT_MAX) else {
        at.fault_with(format!("this is no URL of a {kind} server"), help);
        return None;
    };
    // The message does not repeat the URL, which holds a secret.
    if uri
        .authority()
        .is_some_and(|one| one.as_str().contains('@'))
    {
        at.fault_with(
            "a URL of a server holds no user and no password",
            format!("set `user` and `password` in [{}]", form.section),
        );
        return None;
    }
    let is_encrypted = match uri.scheme_str() {
        Some(scheme) if scheme == plain => false,
        Some(scheme) if scheme == encrypted => true,
        _ => {
            at.fault_with(format!("`{shown}` is no URL of a {kind} server"), help);
            return None;
        }
    };
    let path = uri.path_and_query().map_or("", |path| path.as_str());
    let path = path.strip_prefix('/').unwrap_or(path);
    let virtual_host = match form.has_virtual_host {
        true if path.is_empty() => "/",
        true if !path.contains(['?', '%', '/']) => path,
        _ if path.is_empty() => "",
        _ => {
            at.fault_with(format!("`{shown}` has a path that means nothing"), help);
            return None;
        }
    };
    let default = if is_encrypted { encrypted_port } else { port };
    let (host, port) = (uri.host()?, uri.port_u16().unwrap_or(default));
    let Ok(address) = format!("{host}:{port}").parse::<BackendAddr>() else {
        at.fault_with(format!("`{shown}` is no URL of a {kind} server"), help);
        return None;
    };
    Some(BrokerServer {
        address,
        encrypted: is_encrypted,
        virtual_host: virtual_host.into(),
    })
}

/// A prefix is part of names of every kind of broker, so it has only what all of them take as it
/// is.
pub(super) fn prefix(at: &Scope<'_>, text: &str) -> Option<Arc<str>> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
    let part = |part: &str| !part.is_empty() && part.bytes().all(plain);
    if text.len() > PREFIX_MAX || !text.split('.').all(part) || text.starts_with("amq.") {
        at.fault_with(
            format!(
                "a prefix is at most {PREFIX_MAX} letters, digits, `-` and `_` of ASCII, with `.` \
                 between them, and does not begin with `amq.`"
            ),
            "write `prefix = \"sessile\"`",
        );
        return None;
    }
    Some(text.into())
}

/// Only users of Kafka sign in in several ways.
fn mechanism(at: &Scope<'_>, model: &model::Broker) -> Option<()> {
    let at = model.mechanism.map(|_| at.key("mechanism"));
    let Some(at) = at else { return Some(()) };
    if model.kind != BrokerKind::Kafka {
        at.fault_with(
            format!("{} has one way to sign in", model.kind),
            "take `mechanism` out",
        );
        return None;
    }
    if model.user.is_none() {
        at.fault_with(
            "there is no user that could sign in",
            "set `user` and `password`",
        );
        return None;
    }
    Some(())
}

fn sign_in(at: &Scope<'_>, model: &model::Broker) -> Option<SignIn> {
    if let Some(token) = &model.token {
        let token = secret_text(&at.key("token"), token);
        if model.kind == BrokerKind::Memory {
            return None;
        }
        if model.kind != BrokerKind::Nats {
            at.key("token").fault_with(
                format!("{} takes no token", model.kind),
                "set `user` and `password`",
            );
            return None;
        }
        if model.user.is_some() || model.password.is_some() {
            at.key("token").fault_with(
                "there are a token and a user, of which the server takes one",
                "take one of them out",
            );
            return None;
        }
        return token.map(SignIn::Token);
    }
    match (&model.user, &model.password) {
        (None, None) => Some(SignIn::Open),
        (Some(user), Some(password)) => {
            let password = secret_text(&at.key("password"), password);
            let fits = user.len() <= TEXT_MAX && !user.chars().any(char::is_control);
            if !fits {
                at.key("user")
                    .fault("this is too long for a user, or holds control characters");
            }
            Some(SignIn::Password(user.clone(), password?)).filter(|_| fits)
        }
        // The user of a Redis that has `requirepass`.
        (None, Some(password)) if model.kind == BrokerKind::Redis => {
            let password = secret_text(&at.key("password"), password)?;
            Some(SignIn::Password("default".to_owned(), password))
        }
        (Some(_), None) => {
            at.missing("password", "password = { file = \"broker.password\" }");
            None
        }
        (None, Some(_)) => {
            at.missing("user", "user = \"sessile\"");
            None
        }
    }
}
