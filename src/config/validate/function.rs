//! `[functions.<name>]`, and `function` of a route.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::base::names::{FunctionName, UpstreamName};
use crate::config::layers::Part;
use crate::config::model::{self, Model, Size, TextOr};
use crate::config::route_key::RouteKeyPath;
use crate::config::snapshot::{
    Action, CONNECT, DEFAULT, DISCONNECT, Dialect, FUNCTION_UPSTREAM, Function, FunctionRoute,
    Sign, Upstream,
};
use crate::config::validate::scope::{Scope, all, is_name};
use crate::config::validate::session::TIMEOUT_MAX;
use crate::config::validate::tls::ca;
use crate::config::validate::upstream;
use crate::config::validate::values::{secret, url};

/// Functions of a gateway.
const FUNCTIONS_MAX: usize = 1_000;
/// Keys of a function.
const ROUTES_MAX: usize = 1_000;
/// Longest key; a message's is never longer.
const KEY_MAX: usize = 128;
/// Each has a task and a connection.
const IN_FLIGHT_MAX: usize = 100_000;
/// An answer is in memory as a whole, for each event that is under way.
const RESPONSE_BYTES_MAX: Size = Size(16 << 20);
const QUEUE_TIMEOUT_MAX: Duration = Duration::from_secs(60);
/// Two, and those that replace them.
const SECRETS_MAX: usize = 4;
/// Stage variables of a function.
const VARIABLES_MAX: usize = 100;

pub(super) fn functions(
    at: &Scope<'_>,
    model: &Model,
) -> Option<BTreeMap<FunctionName, Arc<Function>>> {
    at.few(model.functions.len(), FUNCTIONS_MAX)?;
    let each = model.functions.iter();
    let node = model.node.name.clone();
    let node = node.unwrap_or_else(|| at.outside().host_name());
    let checked = each.map(|(name, one)| function(&at.key(name), (name, &node), one));
    let named = |one: Function| (one.name.clone(), Arc::new(one));
    Some(all(checked.collect())?.into_iter().map(named).collect())
}

/// Functions that no route has.
pub(super) fn warn_of_unused(root: &Scope<'_>, model: &Model) {
    let elsewhere = model.sources.etcd.is_some() || model.sources.consul.is_some();
    if elsewhere || root.key("routes").is_explained() {
        return;
    }
    for name in model.functions.keys() {
        let mut routes = model.routes.iter();
        if !routes.any(|route| route.function.as_ref() == Some(name)) {
            let at = root.key("functions").key(name);
            at.warn(format!("no route leads to function `{name}`"));
        }
    }
}

fn function(
    at: &Scope<'_>,
    (name, node): (&str, &str),
    model: &model::Function,
) -> Option<Function> {
    let name = at.name(name, Part::Key);
    let dialect = at.required("dialect", &model.dialect, "dialect = \"aws\"");
    if let Some(dialect) = dialect {
        fits(at, *dialect, model)?;
    }
    let plain = model.plain_http;
    let whole = optional_url(&at.key("url"), model.url.as_ref(), plain);
    let routes = routes(&at.key("routes"), model);
    let route_key = route_key(&at.key("route_key"), &model.route_key);
    let ca = ca(at, model.ca.as_ref());
    let timeout = at.key("timeout").time(model.timeout, TIMEOUT_MAX);
    let in_flight_max = at.key("in_flight_max");
    let in_flight_max = in_flight_max.within(model.in_flight_max, 1..=IN_FLIGHT_MAX);
    let queue_timeout = at.key("queue_timeout");
    let queue_timeout = queue_timeout.time_or_zero(model.queue_timeout, QUEUE_TIMEOUT_MAX);
    let response_bytes = at.key("response_bytes");
    let response_bytes = response_bytes.within(model.response_bytes, Size(0)..=RESPONSE_BYTES_MAX);
    let sign = sign(&at.key("sign"), model.sign.as_ref());
    let variables = at.key("stage_variables");
    variables.few(model.stage_variables.len(), VARIABLES_MAX)?;
    let stage = is_name(&model.stage).then_some(&model.stage);
    if stage.is_none() {
        let what = format!("`{}` is no name of a stage", model.stage);
        at.key("stage")
            .fault_with(what, "use letters, digits, `-`, `_` and `.`");
    }
    let hub = word(at, "hub", model.hub.as_deref().or(name).unwrap_or_default());
    let origin = match dialect {
        Some(Dialect::Cloudevents | Dialect::Grip) => {
            word(at, "origin", model.origin.as_deref().unwrap_or(node))
        }
        Some(Dialect::Aws) | None => Some(String::new()),
    };
    let keys = at.key("secrets");
    keys.few(model.secrets.len(), SECRETS_MAX)?;
    let secrets = keys.each(&model.secrets, secret);
    let (whole, routes) = (whole?, routes?);
    if whole.is_none() && !routes.values().any(|one| one.url.is_some()) {
        at.missing("url", "url = \"http://127.0.0.1:9000/chat\"");
        return None;
    }
    if let (Some(Dialect::Grip), Some(url)) = (dialect, &whole) {
        is_base(at, url)?;
    }
    Some(Function {
        name: FunctionName::from(name?),
        dialect: *dialect?,
        url: whole,
        routes,
        route_key: route_key?,
        reply: model.reply,
        stage: stage?.as_str().into(),
        stage_variables: model.stage_variables.clone(),
        hub: hub?.into(),
        origin: origin?.into(),
        secrets: secrets?,
        ca: ca?,
        timeout: timeout?,
        in_flight_max: in_flight_max?,
        queue_timeout: queue_timeout?,
        response_bytes: response_bytes?.0.try_into().ok()?,
        sign: sign?,
    })
}

/// Reports keys that this dialect does not have.
fn fits(at: &Scope<'_>, dialect: Dialect, model: &model::Function) -> Option<()> {
    const AWS: &[Dialect] = &[Dialect::Aws];
    const AZURE: &[Dialect] = &[Dialect::Cloudevents];
    const SIGNED: &[Dialect] = &[Dialect::Cloudevents, Dialect::Grip];
    let default = model::Function::default();
    let given = [
        ("routes", !model.routes.is_empty(), AWS),
        ("route_key", model.route_key != default.route_key, AWS),
        ("reply", model.reply, AWS),
        ("stage", model.stage != default.stage, AWS),
        ("stage_variables", !model.stage_variables.is_empty(), AWS),
        ("sign", model.sign.is_some(), AWS),
        ("hub", model.hub.is_some(), AZURE),
        ("origin", model.origin.is_some(), SIGNED),
        ("secrets", !model.secrets.is_empty(), SIGNED),
    ];
    let strange = given
        .iter()
        .filter(|(_, given, whose)| *given && !whose.contains(&dialect));
    let strange = strange.map(|(key, ..)| {
        let message = format!("`{key}` is not a key of this dialect");
        at.key(key)
            .fault_key(message, Some("take it out".to_owned()));
    });
    (strange.count() == 0).then_some(())
}

/// The URL of a function of GRIP, which the client's path and query follow.
fn is_base(at: &Scope<'_>, url: &str) -> Option<()> {
    if url.contains(['?', '#']) {
        at.key("url").fault_with(
            format!("`{url}` has a query, and the client's path and query follow it"),
            "write the part before the path: `https://functions.example.com`",
        );
        return None;
    }
    Some(())
}

/// A name that stands in fields and bodies of requests.
fn word(at: &Scope<'_>, key: &str, text: &str) -> Option<String> {
    let good = is_name(text);
    if !good {
        let message = format!("`{text}` is no name");
        at.key(key)
            .fault_with(message, "use letters, digits, `-`, `_` and `.`");
    }
    good.then(|| text.to_owned())
}

fn optional_url(at: &Scope<'_>, text: Option<&String>, plain: bool) -> Option<Option<Arc<str>>> {
    match text {
        Some(text) => url(at, text, plain).map(|url| Some(url.into())),
        None => Some(None),
    }
}

fn routes(at: &Scope<'_>, model: &model::Function) -> Option<BTreeMap<String, FunctionRoute>> {
    at.few(model.routes.len(), ROUTES_MAX)?;
    let checked = model.routes.iter().map(|(key, one)| {
        let at = at.key(key);
        let one = route(&at, key, one, model)?;
        Some((key.clone(), one))
    });
    Some(all(checked.collect())?.into_iter().collect())
}

fn route(
    at: &Scope<'_>,
    key: &str,
    model: &TextOr<model::FunctionRoute>,
    whole: &model::Function,
) -> Option<FunctionRoute> {
    let own = [CONNECT, DISCONNECT, DEFAULT].contains(&key);
    if key.is_empty() || key.len() > KEY_MAX || (key.starts_with('$') && !own) {
        at.fault_key(
            format!("`{key}` is no key of messages"),
            Some("write a text of 1 to 128 bytes that does not begin with `$`, or `$connect`, `$disconnect`, `$default`".to_owned()),
        );
        return None;
    }
    let (at_url, text, reply) = match model {
        TextOr::Text(text) => (at.clone(), Some(text), None),
        TextOr::Table(table) => (at.key("url"), table.url.as_ref(), table.reply),
    };
    let url = optional_url(&at_url, text, whole.plain_http)?;
    if url.is_none() && whole.url.is_none() {
        at.missing("url", "url = \"http://127.0.0.1:9000/chat\"");
        return None;
    }
    Some(FunctionRoute {
        url,
        reply: reply.unwrap_or(whole.reply),
    })
}

fn route_key(at: &Scope<'_>, text: &str) -> Option<RouteKeyPath> {
    let path = RouteKeyPath::parse(text);
    if path.is_none() {
        at.fault_with(
            format!("`{text}` is no place in a message"),
            "write `$request.body.action`, with up to 8 names in a row",
        );
    }
    path
}

fn sign(at: &Scope<'_>, model: Option<&model::Sign>) -> Option<Option<Sign>> {
    let Some(model) = model else {
        return Some(None);
    };
    let word = |key: &str, text: &str| word(at, key, text);
    let region = at.required("region", &model.region, "region = \"eu-central-1\"");
    let region = region.and_then(|text| word("region", text));
    let service = word("service", model.service.as_deref().unwrap_or("lambda"));
    let id = at.required(
        "access_key_id",
        &model.access_key_id,
        "access_key_id = \"AKIA…\"",
    );
    let id = id.and_then(|text| word("access_key_id", text));
    let example = "secret_access_key = { env = \"AWS_SECRET_ACCESS_KEY\" }";
    let key = at.required("secret_access_key", &model.secret_access_key, example);
    let key = key.and_then(|source| secret(&at.key("secret_access_key"), source));
    let token = match &model.session_token {
        Some(source) => secret(&at.key("session_token"), source).map(Some),
        None => Some(None),
    };
    Some(Some(Sign {
        region: region?,
        service: service?,
        access_key_id: id?,
        secret_access_key: key?,
        session_token: token?,
    }))
}

/// `function` of a route.
pub(super) fn of_route(
    at: &Scope<'_>,
    model: &model::Route,
    name: &str,
    whole: &Model,
) -> Option<Action> {
    if model.sse.is_some() {
        at.key("sse").fault_key(
            "clients that only listen would come past the function, which is not asked for them",
            Some(
                "give them a route of their own, with `upstream` or `upstream = \"broker\"`"
                    .to_owned(),
            ),
        );
        return None;
    }
    if model.on_backend_loss == model::OnBackendLoss::Reconnect {
        let reconnect = at.key("on_backend_loss");
        reconnect.fault("the route has no backend, so it cannot reconnect to one");
        return None;
    }
    if !whole.functions.contains_key(name) && !at.top("functions", name).is_explained() {
        let names = whole.functions.keys().map(String::as_str);
        let what = format!("unknown function `{name}`");
        at.key("function").fault_near(what, name, names);
        return None;
    }
    let local = upstream::local(&at.key("function"), name)?;
    let upstream = Upstream {
        name: UpstreamName::from(&*format!("{FUNCTION_UPSTREAM}{name}")),
        ..local
    };
    Some(Action::Function(
        FunctionName::from(name),
        Arc::new(upstream),
    ))
}
