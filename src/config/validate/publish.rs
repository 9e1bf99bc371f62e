//! `[publish]`, and what routes say about published messages.

use std::sync::Arc;
use std::time::Duration;

use crate::base::target_scope::Scope as TargetScope;
use crate::config::layers::Part;
use crate::config::model::{self, Size, TextOr};
use crate::config::pattern::PathPattern;
use crate::config::snapshot::{
    AffinitySource, GroupSource, History, MembershipLimits, MessageQueue, MetadataSource, Publish,
    PublishToken, RouteMessages, Sse, WhenFull,
};
use crate::config::validate::affinity::affinity_source;
use crate::config::validate::scope::Scope;
use crate::config::validate::subscribe::{publish_to, subscribe};
use crate::config::validate::tls::listener_tls;
use crate::config::validate::values::{expires, listen_address, secret, socket_mode};

const MESSAGE_BYTES_MAX: Size = Size(1 << 20);
const QUEUE_BYTES_MAX: Size = Size(16 << 20);
const QUEUE_MESSAGES_MAX: usize = 100_000;
const GROUPS_PER_SESSION_MAX: usize = 1000;
const MEMBERSHIPS_MAX: usize = 100_000_000;
const TOKENS_MAX: usize = 1000;
const SCOPES_MAX: usize = 1000;
const PREFIX_MAX: usize = 64;
const HISTORIES_MAX: usize = 1000;
const HISTORY_MESSAGES_MAX: usize = 10_000;
const HISTORY_BYTES_MAX: Size = Size(16 << 30);
const HISTORY_AGE_MAX: Duration = Duration::from_secs(24 * 60 * 60);
const RETRY_MAX: Duration = Duration::from_secs(60 * 60);
const HEARTBEAT_MIN: Duration = Duration::from_secs(1);
const HEARTBEAT_MAX: Duration = Duration::from_secs(60 * 60);
const METADATA_VALUES_MAX: usize = 16;

/// `None` inside where nothing is published.
pub(super) fn publish(at: &Scope<'_>, model: &model::Publish) -> Option<Option<Publish>> {
    let Some(listen) = &model.listen else {
        if !model.tokens.is_empty() {
            at.key("tokens").fault_key(
                "there is no address to publish at",
                Some("add `listen = \"127.0.0.1:9901\"` beside them".to_owned()),
            );
            return None;
        }
        return Some(None);
    };
    let listen = listen_address(&at.key("listen"), listen);
    let socket_mode = socket_mode(&at.key("socket_mode"), &model.socket_mode);
    let tls = match &model.tls {
        Some(tls) => listener_tls(&at.key("tls"), tls).map(Some),
        None => Some(None),
    };
    if model.tls.as_ref().is_some_and(|tls| tls.acme.is_some()) {
        at.key("tls").key("acme").fault_with(
            "the publishing API orders no certificate",
            "name the files of one in `certificates`",
        );
    }
    let tokens = tokens(&at.key("tokens"), model);
    let bytes = at.key("message_bytes");
    let message_bytes = bytes.within(model.message_bytes, Size(1)..=MESSAGE_BYTES_MAX);
    let history = history(&at.key("history"), &model.history);
    let bytes = at.key("history_bytes");
    let history_bytes = bytes.within(model.history_bytes, Size(1 << 10)..=HISTORY_BYTES_MAX);
    Some(Some(Publish {
        listen: listen?,
        socket_mode: socket_mode?,
        tls: tls?,
        tokens: tokens?,
        message_bytes: usize::try_from(message_bytes?.0).ok()?,
        history: history?.into(),
        history_bytes: usize::try_from(history_bytes?.0).ok()?,
    }))
}

/// Bounds on groups and subscriptions.
pub(super) fn memberships(at: &Scope<'_>, model: &model::Publish) -> Option<MembershipLimits> {
    let groups = at.key("groups_per_session");
    let groups_per_session = groups.within(model.groups_per_session, 1..=GROUPS_PER_SESSION_MAX);
    let memberships = at.key("memberships_max");
    let memberships_max = memberships.within(model.memberships_max, 1..=MEMBERSHIPS_MAX);
    Some(MembershipLimits {
        groups_per_session: groups_per_session?,
        memberships_max: memberships_max?,
    })
}

fn tokens(at: &Scope<'_>, model: &model::Publish) -> Option<Arc<[PublishToken]>> {
    if model.tokens.is_empty() && !at.is_explained() {
        at.fault_with(
            "without a token no service may publish",
            "add `tokens = [{ name = \"app\", token = { file = \"publish.token\" }, targets = \
             [\"*\"] }]`",
        );
        return None;
    }
    at.few(model.tokens.len(), TOKENS_MAX)?;
    at.distinct(
        "tokens",
        model.tokens.iter().map(|token| token.name.as_deref()),
    );
    let tokens = at.each(&model.tokens, token)?;
    for (place, token) in tokens.iter().enumerate() {
        let same = |other: &&PublishToken| other.token.reveal() == token.token.reveal();
        if let Some(other) = tokens[..place].iter().find(same) {
            let message = format!("this is the token of `{}` too", other.name);
            at.index(place)
                .key("token")
                .fault_with(message, "give each publisher its own");
            return None;
        }
    }
    Some(tokens.into())
}

fn token(at: &Scope<'_>, model: &model::PublishToken) -> Option<PublishToken> {
    let name = at
        .required("name", &model.name, "name = \"app\"")
        .and_then(|name| at.key("name").name(name, Part::Value));
    let token = at
        .required(
            "token",
            &model.token,
            "token = { file = \"publish.token\" }",
        )
        .and_then(|source| secret(&at.key("token"), source));
    let expires = expires(at, &model.expires);
    let scopes = at.key("targets");
    if model.targets.is_empty() && !scopes.is_explained() {
        scopes.fault_with(
            "this token opens nothing",
            "name what it may publish to: `targets = [\"group:*\", \"principal:*\"]`",
        );
        return None;
    }
    scopes.few(model.targets.len(), SCOPES_MAX)?;
    let targets = scopes.each(&model.targets, |at, text| at.parse::<TargetScope>(text));
    Some(PublishToken {
        name: name?.into(),
        token: token?,
        expires: expires?,
        targets: targets?,
    })
}

/// `history` of `[publish]`.
fn history(at: &Scope<'_>, model: &[model::History]) -> Option<Vec<History>> {
    at.few(model.len(), HISTORIES_MAX)?;
    at.each(model, |at, model| {
        let groups = at.key("groups");
        if model.groups.is_empty() && !groups.is_explained() {
            groups.fault_with(
                "no group has this history",
                "name groups: `groups = [\"prices\", \"room-*\"]`",
            );
            return None;
        }
        groups.few(model.groups.len(), SCOPES_MAX)?;
        let groups = groups.each(&model.groups, |at, name| {
            at.parse::<TargetScope>(&format!("group:{name}"))
        });
        let messages = at.key("messages");
        let messages = messages.within(model.messages, 1..=HISTORY_MESSAGES_MAX);
        let age = at.key("age").time(model.age, HISTORY_AGE_MAX);
        Some(History {
            groups: groups?,
            messages: messages?,
            age: age?,
        })
    })
}

/// `sse` of a route; `None` inside where it has none.
fn sse(at: &Scope<'_>, model: Option<&model::Sse>) -> Option<Option<Sse>> {
    let Some(model) = model else {
        return Some(None);
    };
    let retry = at.key("retry").time(model.retry, RETRY_MAX);
    let heartbeat = at.key("heartbeat");
    let heartbeat = heartbeat.interval(model.heartbeat, HEARTBEAT_MIN, HEARTBEAT_MAX);
    Some(Some(Sse {
        retry: retry?,
        heartbeat: heartbeat?,
    }))
}

/// What a route says about published messages.
pub(super) fn of_route(
    at: &Scope<'_>,
    route: &model::Route,
    whole: &model::Model,
    path: Option<&PathPattern>,
) -> Option<RouteMessages> {
    let groups = groups(&at.key("groups"), route, path);
    if let Some(groups) = &groups {
        warn_of_mixed(&at.key("groups"), groups);
    }
    let publish = publish_to(at, route, whole, path);
    let queue = queue(&at.key("message_queue"), &route.message_queue);
    let sse = sse(&at.key("sse"), route.sse.as_ref());
    let metadata = metadata(&at.key("presence").key("metadata"), route, path);
    let subscribe = subscribe(&at.key("subscribe"), route, whole, path);
    Some(RouteMessages {
        groups: groups?,
        subscribe: subscribe?,
        publish: publish?,
        queue: queue?,
        metadata: metadata?,
        sse: sse?,
    })
}

/// `presence.metadata` of a route.
fn metadata(
    at: &Scope<'_>,
    route: &model::Route,
    path: Option<&PathPattern>,
) -> Option<Vec<MetadataSource>> {
    let all = &route.presence.metadata;
    at.few(all.len(), METADATA_VALUES_MAX)?;
    let each = all.iter().map(|(name, text)| {
        let at = at.key(name);
        if name.is_empty() || name.len() > PREFIX_MAX || name.chars().any(char::is_control) {
            at.fault_with(
                "metadata has no such name",
                format!("use 1 to {PREFIX_MAX} bytes of text without control characters"),
            );
            return None;
        }
        let source = affinity_source(&at, text, path)?;
        if matches!(source, AffinitySource::Claim(_)) && route.authenticate.is_empty() {
            at.warn("the route authenticates no client, so this source is never present");
        }
        Some(MetadataSource {
            name: name.as_str().into(),
            source,
        })
    });
    // All faults, not only the first.
    let each: Vec<_> = each.collect();
    each.into_iter().collect()
}

/// `groups` of a route.
fn groups(
    at: &Scope<'_>,
    route: &model::Route,
    path: Option<&PathPattern>,
) -> Option<Vec<GroupSource>> {
    at.each(&route.groups, |at, model| {
        let (at, text, prefix) = match model {
            TextOr::Text(text) => (at, text, ""),
            TextOr::Table(table) => {
                let from = at.required("from", &table.from, "from = \"path:room\"")?;
                (&at.key("from"), from, &*table.prefix)
            }
        };
        let source = affinity_source(at, text, path)?;
        if matches!(source, AffinitySource::Claim(_)) && route.authenticate.is_empty() {
            at.warn("the route authenticates no client, so this source is never present");
        }
        if prefix.len() > PREFIX_MAX || prefix.chars().any(char::is_control) {
            at.fault_with(
                "this prefix cannot begin the name of a group",
                format!("use at most {PREFIX_MAX} bytes of text without control characters"),
            );
            return None;
        }
        Some(GroupSource {
            source,
            prefix: prefix.to_owned(),
        })
    })
}

/// Warns where clients could choose a group that a claim is to protect.
fn warn_of_mixed(at: &Scope<'_>, groups: &[GroupSource]) {
    let claims = |group: &&GroupSource| matches!(group.source, AffinitySource::Claim(_));
    let chosen = |group: &&GroupSource| {
        !claims(group) && !matches!(group.source, AffinitySource::ClientAddress)
    };
    let overlap = |one: &GroupSource, other: &GroupSource| {
        one.prefix.starts_with(&other.prefix) || other.prefix.starts_with(&one.prefix)
    };
    let mut claimed = groups.iter().filter(claims);
    let mixed = claimed.any(|claim| {
        let mut others = groups.iter().filter(chosen);
        others.any(|other| overlap(claim, other))
    });
    if mixed {
        at.warn_with(
            "a client that chooses the one value can join groups that the claim names",
            "give them prefixes: `{ from = \"path:room\", prefix = \"room-\" }`",
        );
    }
}

/// `message_queue` of a route.
fn queue(at: &Scope<'_>, model: &model::MessageQueue) -> Option<MessageQueue> {
    let messages = at
        .key("messages")
        .within(model.messages, 1..=QUEUE_MESSAGES_MAX);
    let bytes = at
        .key("bytes")
        .within(model.bytes, Size(256)..=QUEUE_BYTES_MAX);
    Some(MessageQueue {
        messages: messages?,
        bytes: usize::try_from(bytes?.0).ok()?,
        when_full: match model.when_full {
            model::WhenFull::DropNew => WhenFull::DropNew,
            model::WhenFull::DropOldest => WhenFull::DropOldest,
            model::WhenFull::Close => WhenFull::Close,
        },
    })
}
