//! `[[routes]]`: conditions, affinity, bounds. What a route does to a request is `edits`'.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use http::Method;

use crate::base::names::{RouteName, UpstreamName};
use crate::config::layers::Part;
use crate::config::model::{self, Size};
use crate::config::pattern::{HostPattern, PathPattern};
use crate::config::snapshot::{
    Action, BROKER_UPSTREAM, CacheRules, MatchText, OnRemoval, Route, RouteLimits, RouteTimeouts,
    STATIC_UPSTREAM, TextMatch,
};
use crate::config::validate::scope::{Scope, all};
use crate::config::validate::session::TIMEOUT_MAX;
use crate::config::validate::syntax::is_token;
use crate::config::validate::{
    affinity, auth, edits, function, guard, paths, publish, session, static_files, upstream,
};

/// A year as `humantime` counts it.
const LIFETIME_MAX: Duration = Duration::from_secs(31_557_600);
/// A week.
const STICK_FOR_MAX: Duration = Duration::from_secs(7 * 24 * 60 * 60);
const MESSAGE_BYTES_MAX: Size = Size(1 << 40);
/// A body is collected in memory before it is kept.
const OBJECT_BYTES_MAX: Size = Size(64 << 20);

/// Entries of a route's lists.
const HOSTS_MAX: usize = 256;
const ENTRIES_MAX: usize = 64;
/// Names at the broker; each session may be subscribed to all of them.
const SUBSCRIBE_MAX: usize = 16;
/// Hosts times segments of the path: so many places of the table a route takes.
const PLACES_MAX: usize = 2048;

pub(super) fn route(at: &Scope<'_>, model: &model::Route, whole: &model::Model) -> Option<Route> {
    bounded(at, model)?;
    let name = at
        .required("name", &model.name, "name = \"chat\"")
        .and_then(|name| at.key("name").name(name, Part::Value));
    let hosts = at
        .key("hosts")
        .each(&model.hosts, |at, text| at.parse::<HostPattern>(text));
    let path = paths::pattern(at, model);
    let methods = at.key("methods").each(&model.methods, method);
    let headers = tests(&at.key("headers"), &model.headers, edits::header_name);
    let query = tests(&at.key("query"), &model.query, |_, key| {
        Some(key.to_owned())
    });
    let subprotocols = subprotocols(&at.key("subprotocols"), &model.subprotocols);
    let action = action(at, model, whole, path.as_ref());
    let cache = cache(&at.key("cache"), model.cache.as_ref());
    let rewrite = edits::rewrite(&at.key("rewrite"), &model.rewrite, path.as_ref());
    let request_headers = edits::headers(&at.key("request_headers"), &model.request_headers);
    let auth = auth::route(at, model, &whole.authenticators, path.as_ref());
    let affinity = affinity::affinity(&at.key("affinity"), model, path.as_ref());
    let messages = publish::of_route(at, model, whole, path.as_ref());
    let stick = stick(at, model);
    let stick_for = stick_for(at, model);
    let origins = guard::origins(at, model, &whole.authenticators);
    let addresses = guard::addresses(at, &model.allow, &model.deny);
    let limits = limits(&at.key("limits"), &model.limits);
    let quotas = guard::quotas(&at.key("limits"), &model.limits);
    let timeouts = timeouts(&at.key("timeouts"), &model.timeouts);
    let backend_lost_code = close_code(
        &at.key("close_codes").key("backend_lost"),
        model.close_codes.backend_lost,
    );
    let reconnect = session::reconnect(at, model);
    let keepalive = session::keepalive(&at.key("keepalive"), model.keepalive.as_ref());
    Some(Route {
        name: RouteName::from(name?),
        hosts: hosts?,
        path: path?,
        paths: paths::rules(model.paths.as_ref()),
        scheme: model.scheme,
        methods: methods?,
        headers: headers?,
        query: query?,
        subprotocols: subprotocols?,
        precedence: model.precedence,
        action: action?,
        cache: cache?,
        rewrite: rewrite?,
        request_headers: request_headers?,
        auth: auth?,
        origins: origins?,
        addresses: addresses?,
        quotas: quotas?,
        priority: model.priority,
        affinity: affinity?,
        messages: messages?,
        stick: stick?,
        stick_for: stick_for?,
        fleet: model.scope != Some(model::RouteScope::Node),
        tap_payload: model.tap_payload,
        limits: limits?,
        timeouts: timeouts?,
        backend_lost_code: backend_lost_code?,
        reconnect: reconnect?,
        keepalive: keepalive?,
        on_removal: match model.on_removal {
            model::OnRemoval::Keep => OnRemoval::Keep,
            model::OnRemoval::Close => OnRemoval::Close,
        },
    })
}

fn subprotocols(at: &Scope<'_>, model: &[String]) -> Option<Vec<String>> {
    at.each(model, |at, name| {
        is_token(name)
            .then(|| name.clone())
            .or_else(|| fault(at, format!("`{name}` is not a subprotocol's name")))
    })
}

/// Whether its lists are no longer than they may be: what a request costs grows with them.
fn bounded(at: &Scope<'_>, model: &model::Route) -> Option<()> {
    let lists = [
        ("hosts", model.hosts.len(), HOSTS_MAX),
        ("origins", model.origins.len(), HOSTS_MAX),
        ("methods", model.methods.len(), ENTRIES_MAX),
        ("headers", model.headers.len(), ENTRIES_MAX),
        ("query", model.query.len(), ENTRIES_MAX),
        ("subprotocols", model.subprotocols.len(), ENTRIES_MAX),
        ("authenticate", model.authenticate.len(), ENTRIES_MAX),
        ("authorize", model.authorize.len(), ENTRIES_MAX),
        ("claim_headers", model.claim_headers.len(), ENTRIES_MAX),
        ("affinity", model.affinity.len(), ENTRIES_MAX),
        ("groups", model.groups.len(), ENTRIES_MAX),
        ("subscribe", model.subscribe.len(), SUBSCRIBE_MAX),
    ];
    let lists = lists
        .iter()
        .map(|(key, length, max)| at.key(key).few(*length, *max));
    all(lists.collect())?;
    let places = model.hosts.len() * model.path.split('/').count();
    if places > PLACES_MAX {
        at.key("hosts").fault_with(
            format!("so many hosts with so deep a path take {places} places in the table"),
            format!("use at most {PLACES_MAX}, hosts times segments, or make it several routes"),
        );
        return None;
    }
    Some(())
}

/// `stick` needs a key that sessions stick by.
fn stick(at: &Scope<'_>, model: &model::Route) -> Option<bool> {
    let stick = model.stick == model::Stick::Live;
    if stick && model.affinity.is_empty() && !at.key("affinity").is_explained() {
        at.key("stick").fault_with(
            "`stick` needs `affinity`, and this route has none",
            "add `affinity = [\"cookie:sid\"]`, or take `stick` out",
        );
        return None;
    }
    Some(stick)
}

/// Only what sticks can be kept.
fn stick_for(at: &Scope<'_>, model: &model::Route) -> Option<Duration> {
    let at_time = at.key("stick_for");
    let time = at_time.time_or_zero(model.stick_for, STICK_FOR_MAX)?;
    if !time.is_zero() && model.stick != model::Stick::Live && !at.key("stick").is_explained() {
        at_time.fault_with(
            "`stick_for` needs `stick = \"live\"`, and this route does not stick",
            "add `stick = \"live\"`, or take `stick_for` out",
        );
        return None;
    }
    Some(time)
}

fn fault<T>(at: &Scope<'_>, message: String) -> Option<T> {
    at.fault(message);
    None
}

fn method(at: &Scope<'_>, text: &String) -> Option<Method> {
    if text.bytes().any(|byte| byte.is_ascii_lowercase()) {
        let help = format!("write `{}`", text.to_ascii_uppercase());
        at.fault_with(format!("`{text}` is not a method"), help);
        return None;
    }
    Method::from_bytes(text.as_bytes())
        .ok()
        .or_else(|| fault(at, format!("`{text}` is not a method")))
}

/// Tests of headers or query parameters; `name` parses their names.
fn tests<N>(
    at: &Scope<'_>,
    model: &BTreeMap<String, model::TextMatch>,
    name: impl Fn(&Scope<'_>, &str) -> Option<N>,
) -> Option<Vec<(N, TextMatch)>> {
    let checked: Vec<_> = model
        .iter()
        .map(|(key, test)| {
            let at = at.key(key);
            let (name, test) = (name(&at, key), text_match(&at, test));
            Some((name?, test?))
        })
        .collect();
    all(checked)
}

fn text_match(at: &Scope<'_>, model: &model::TextMatch) -> Option<TextMatch> {
    let wanted = |text: &String| MatchText::new(text.clone(), at.is_secret());
    Some(match model {
        model::TextMatch::Present(true) => TextMatch::Present,
        model::TextMatch::Present(false) => TextMatch::Absent,
        model::TextMatch::Exact(text) => TextMatch::Exact(wanted(text)),
        model::TextMatch::Prefix(table) => {
            let prefix = at.required("prefix", &table.prefix, "prefix = \"v2.\"")?;
            TextMatch::Prefix(wanted(prefix))
        }
    })
}

fn action(
    at: &Scope<'_>,
    model: &model::Route,
    whole: &model::Model,
    path: Option<&PathPattern>,
) -> Option<Action> {
    if let Some(files) = &model.static_files {
        alone(at, model, "static")?;
        let authenticated = !model.authenticate.is_empty();
        let files = static_files::static_files(&at.key("static"), files, authenticated)?;
        let upstream = upstream::local(&at.key("static"), STATIC_UPSTREAM)?;
        return Some(Action::Static(Arc::new(files), Arc::new(upstream)));
    }
    if let Some(name) = &model.function {
        alone(at, model, "function")?;
        return function::of_route(at, model, name, whole);
    }
    match (&model.upstream, &model.redirect) {
        (Some(name), None) => {
            let known = at.top("upstreams", name);
            let is_broker = name == BROKER_UPSTREAM;
            let missing =
                !is_broker && !whole.upstreams.contains_key(name) && !known.is_explained();
            let consul = whole.sources.consul.as_ref();
            let consul = consul.filter(|consul| consul.prefix.is_some());
            let etcd = whole.sources.etcd.as_ref().map(|_| "etcd");
            let elsewhere = etcd.or_else(|| consul.map(|_| "Consul"));
            if let Some(source) = elsewhere.filter(|_| missing) {
                at.key("upstream").warn(format!(
                    "there is no upstream `{name}` in this file; the route waits until {source} \
                     has one"
                ));
            } else if missing {
                let names = whole.upstreams.keys().map(String::as_str);
                at.key("upstream")
                    .fault_near(format!("unknown upstream `{name}`"), name, names);
            }
            Some(Action::Forward(UpstreamName::from(name.as_str())))
        }
        (None, Some(redirect)) => {
            edits::redirect(&at.key("redirect"), redirect, path).map(Action::Redirect)
        }
        (Some(_), Some(_)) => alone(at, model, "redirect").and(None),
        (None, None) => {
            let others = ["function", "redirect", "static"];
            if !others.iter().any(|key| at.key(key).is_explained()) {
                at.missing(
                    "upstream",
                    "upstream = \"NAME\"` or `redirect = { scheme = \"https\" }",
                );
            }
            None
        }
    }
}

/// Reports what a route cannot have beside `own`.
fn alone(at: &Scope<'_>, model: &model::Route, own: &str) -> Option<()> {
    let others = [
        ("upstream", model.upstream.is_some()),
        ("function", model.function.is_some()),
        ("redirect", model.redirect.is_some()),
    ];
    let mut others = others.into_iter();
    let other = others.find(|(other, given)| *given && *other != own);
    if let Some((other, _)) = other {
        at.key(own).fault_key(
            format!("a route has either `{other}` or `{own}`"),
            Some("take one of them out".to_owned()),
        );
    }
    other.is_none().then_some(())
}

fn cache(at: &Scope<'_>, model: Option<&model::Cache>) -> Option<Option<CacheRules>> {
    let Some(model) = model else {
        return Some(None);
    };
    let bytes = at
        .key("object_bytes")
        .within(model.object_bytes, Size(1)..=OBJECT_BYTES_MAX)?;
    let object_bytes = bytes.0.try_into().ok()?;
    Some(Some(CacheRules { object_bytes }))
}

fn limits(at: &Scope<'_>, model: &model::RouteLimits) -> Option<RouteLimits> {
    let message_bytes = at
        .key("message_bytes")
        .within(model.message_bytes, Size(1)..=MESSAGE_BYTES_MAX)?;
    let frame_bytes = match model.frame_bytes {
        Some(size) => at
            .key("frame_bytes")
            .within(size, Size(1)..=message_bytes)?,
        None => message_bytes,
    };
    Some(RouteLimits {
        message_bytes: message_bytes.0,
        frame_bytes: frame_bytes.0,
    })
}

fn timeouts(at: &Scope<'_>, model: &model::RouteTimeouts) -> Option<RouteTimeouts> {
    let or_off = |key: &str, time: model::TimeOrOff| match time.0 {
        Some(time) => at.key(key).time(model::Time(time), LIFETIME_MAX).map(Some),
        None => Some(None),
    };
    let handshake = at.key("handshake").time(model.handshake, TIMEOUT_MAX);
    let attempt = or_off("attempt", model.attempt);
    if let (Some(handshake), Some(Some(attempt))) = (handshake, attempt)
        && attempt >= handshake
    {
        at.key("attempt").fault_with(
            "it never ends before `handshake`, which is for all attempts together",
            "write a shorter time, or `\"off\"`",
        );
        return None;
    }
    let idle = or_off("idle", model.idle);
    let lifetime = or_off("lifetime", model.lifetime);
    let close = at.key("close").time(model.close, TIMEOUT_MAX);
    let response = at.key("response").time(model.response, TIMEOUT_MAX);
    let progress = at.key("progress").time(model.progress, TIMEOUT_MAX);
    Some(RouteTimeouts {
        handshake: handshake?,
        attempt: attempt?,
        idle: idle?,
        lifetime: lifetime?,
        close: close?,
        response: response?,
        progress: progress?,
    })
}

fn close_code(at: &Scope<'_>, code: u16) -> Option<u16> {
    if matches!(code, 1000..=1003 | 1007..=1013 | 3000..=4999) {
        return Some(code);
    }
    at.fault_with(
        format!("browsers do not accept close code {code}"),
        "use 1000 to 1003, 1007 to 1013 or 3000 to 4999",
    );
    None
}
