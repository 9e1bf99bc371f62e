//! `[node]`, `[admin]`.

use std::net::SocketAddr;

use crate::base::addr::ListenAddr;
use crate::base::secret::Secret;
use crate::config::layers::Part;
use crate::config::limits::{NodeLimits, PrefixLengths};
use crate::config::model::{self, Size};
use crate::config::snapshot::{Admin, AdminFleet, Node, TlsRecords, Token};
use crate::config::validate::listener::networks;
use crate::config::validate::scope::Scope;
use crate::config::validate::tls::listener_tls;
use crate::config::validate::upstream::upstream_tls;
use crate::config::validate::values::{expires, listen_address, secret, socket_mode};

const WORKERS_MAX: usize = 1024;
const CACHE_MEMORY_MIN: Size = Size(16 << 10);
const CACHE_MEMORY_MAX: Size = Size(1 << 40);

pub(super) fn node(at: &Scope<'_>, model: &model::Node) -> Option<Node> {
    let name = match &model.name {
        Some(name) => at.key("name").name(name, Part::Value).map(str::to_owned),
        None => Some(at.outside().host_name()),
    };
    let workers = at.key("workers").within(model.workers, 0..=WORKERS_MAX);
    Some(Node {
        name: name?.into(),
        workers: workers?,
        pin_workers: model.pin_workers,
        state_dir: model.state_dir.as_ref().map(|path| at.resolve(path)),
        tls_records: match model.tls_records {
            model::TlsRecords::Gateway => TlsRecords::Gateway,
            model::TlsRecords::Rustls => TlsRecords::Rustls,
        },
    })
}

pub(super) fn limits(at: &Scope<'_>, model: &model::Node) -> Option<NodeLimits> {
    let prefix = at.key("address_prefix");
    let v4 = prefix.key("v4").within(model.address_prefix.v4, 8..=32);
    let v6 = prefix.key("v6").within(model.address_prefix.v6, 16..=128);
    let cache_memory = at.key("cache_memory");
    let cache_memory = cache_memory.within(model.cache_memory, CACHE_MEMORY_MIN..=CACHE_MEMORY_MAX);
    Some(NodeLimits {
        cache_memory: cache_memory?.0,
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
        Some(source) => token(&at.key("token"), source).map(Some),
        None => Some(None),
    };
    let read_token = match &model.read_token {
        Some(source) => self::token(&at.key("read_token"), source).map(Some),
        None => Some(None),
    };
    let tls = match &model.tls {
        Some(tls) => listener_tls(&at.key("tls"), tls).map(Some),
        None => Some(None),
    };
    guarded(at, model, listen.as_ref());
    let own = [&read_token, &token].map(|one| Some(&one.as_ref()?.as_ref()?.secret));
    let fleet = fleet(&at.key("fleet"), &model.fleet, own);
    Some(Admin {
        listen: listen?,
        socket_mode: socket_mode?,
        token: token?,
        read_token: read_token?,
        tls: tls?,
        operators: model.operators.clone(),
        fleet: fleet?,
    })
}

fn token(at: &Scope<'_>, model: &model::TokenSource) -> Option<Token> {
    let secret = secret(at, &model.secret);
    let expires = expires(at, &model.expires);
    Some(Token {
        secret: secret?,
        expires: expires?,
    })
}

/// Finds an admin API that strangers could use, and keys that would guard nothing.
fn guarded(at: &Scope<'_>, model: &model::Admin, listen: Option<&ListenAddr>) {
    if model.tls.as_ref().is_some_and(|tls| tls.acme.is_some()) {
        at.key("tls").key("acme").fault_with(
            "the admin API orders no certificate",
            "name the files of one in `certificates`",
        );
    }
    if model.tls.as_ref().is_some_and(|tls| tls.hsts.is_some()) {
        at.key("tls")
            .key("hsts")
            .fault("the admin API sends no HSTS; leave it out");
    }
    let authority = model.tls.as_ref().and_then(|tls| tls.client_ca.as_ref());
    let unguarded = model.token.is_none() && authority.is_none();
    let unguarded = unguarded && !at.key("token").is_explained();
    if model.read_token.is_some() && model.token.is_none() && !at.key("token").is_explained() {
        at.key("read_token").fault_key(
            "without a `token` either no client could change anything, or every client could",
            Some("add `token` beside it".to_owned()),
        );
    }
    if !model.operators.is_empty() && authority.is_none() {
        at.key("operators").fault_key(
            "clients are not asked for certificates",
            Some("add `tls.client_ca` beside it".to_owned()),
        );
    }
    if let Some(listen) = listen.filter(|listen| unguarded && !listen.is_local()) {
        at.key("listen").fault_with(
            format!("{listen} can be reached from elsewhere, and there is no token"),
            "listen on `127.0.0.1:9900`, or add `token = { file = \"admin.token\" }` or \
             `tls.client_ca` to [admin]",
        );
    }
}

/// `own` are the tokens of this gateway, the one that only reads first.
fn fleet(
    at: &Scope<'_>,
    model: &model::AdminFleet,
    own: [Option<&Secret>; 2],
) -> Option<AdminFleet> {
    let networks = networks(&at.key("networks"), &model.networks);
    let token = match &model.token {
        Some(source) => secret(&at.key("token"), source).map(Some),
        None => Some(own.into_iter().flatten().next().cloned()),
    };
    let advertise = match &model.advertise {
        Some(text) => advertised(&at.key("advertise"), text).map(Some),
        None => Some(None),
    };
    let tls = match (&model.ca, &model.server_name) {
        (None, Some(_)) => {
            at.key("server_name").fault_key(
                "no certificate is verified",
                Some("add `ca` beside it".to_owned()),
            );
            None
        }
        (None, None) => Some(None),
        (Some(_), server_name) => {
            let tls = model::UpstreamTls {
                ca: model.ca.clone(),
                server_name: server_name.clone(),
            };
            upstream_tls(at, &tls).map(Some)
        }
    };
    Some(AdminFleet {
        advertise: advertise?,
        networks: networks?,
        token: token?,
        tls: tls?,
    })
}

fn advertised(at: &Scope<'_>, text: &str) -> Option<SocketAddr> {
    let address = text.parse::<SocketAddr>().ok();
    let address = address.filter(|address| !address.ip().is_unspecified() && address.port() > 0);
    if address.is_none() {
        at.fault_with(
            format!("`{text}` is not an address that others can ask"),
            "write address and port, such as `10.0.0.5:9900`",
        );
    }
    address
}
