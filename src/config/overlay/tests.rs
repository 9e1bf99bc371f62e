//! Documents on top of a small file, put together again and again.

use std::time::UNIX_EPOCH;

use proptest::prelude::*;

mod layers;
mod own_paths;
mod protect;
mod world;

use super::*;
use crate::config::snapshot::{Action, Snapshot};
use world::{World, delete, put};

#[test]
fn documents_add_and_override_by_name() {
    let mut world = World::new();
    world.apply(vec![
        put("upstreams/game", r#"{"policy": "maglev"}"#, 1),
        put("backends/game/a", r#"{"address": "127.0.0.1:2"}"#, 2),
        put("backends/chat/b", r#""127.0.0.1:3""#, 3),
        put("routes/game", r#"{"path": "/game", "upstream": "game"}"#, 4),
    ]);
    assert_eq!(world.routes(), ["chat", "game"]);
    assert_eq!(world.backends("game"), ["a=127.0.0.1:2"]);
    assert_eq!(
        world.backends("chat"),
        ["127.0.0.1:1=127.0.0.1:1", "b=127.0.0.1:3"]
    );

    world.apply(vec![
        put(
            "backends/chat/127.0.0.1:1",
            r#"{"address": "127.0.0.1:9"}"#,
            5,
        ),
        put(
            "routes/chat",
            r#"{"path": "/other", "upstream": "game"}"#,
            6,
        ),
    ]);
    assert_eq!(
        world.backends("chat"),
        ["127.0.0.1:1=127.0.0.1:9", "b=127.0.0.1:3"]
    );
    assert!(world.view("routes/chat").overrides_file);
    let chat = world
        .now
        .routes
        .iter()
        .find(|route| route.name.as_str() == "chat");
    let chat = chat.expect("it is there");
    assert_eq!(chat.action, Action::Forward("game".into()));

    world.apply(vec![
        delete("routes/chat"),
        delete("backends/chat/127.0.0.1:1"),
    ]);
    assert_eq!(
        world.backends("chat"),
        ["127.0.0.1:1=127.0.0.1:1", "b=127.0.0.1:3"]
    );
    let chat = world
        .now
        .routes
        .iter()
        .find(|route| route.name.as_str() == "chat");
    assert_eq!(
        chat.expect("the file's").action,
        Action::Forward("chat".into())
    );
}

#[test]
fn i4_a_bad_document_is_refused_alone_and_its_last_good_version_stays() {
    let mut world = World::new();
    world.apply(vec![
        put("backends/chat/b", r#"{"address": "127.0.0.1:3"}"#, 1),
        put("upstreams/bad", r#"{"policy": "maglv"}"#, 2),
    ]);
    let check = |world: &mut World, text: &str, fault: &str| {
        world.apply(vec![put("backends/chat/b", text, 7)]);
        let view = world.view("backends/chat/b");
        assert_eq!(
            (view.status, view.in_force),
            (DocumentStatus::Refused, Some(1)),
            "{text}"
        );
        let shown = view.diagnostics[0].to_string();
        assert!(
            shown.contains(fault) && shown.contains("backends/chat/b"),
            "{text}: {shown}"
        );
        let backends = world.backends("chat");
        assert_eq!(
            backends,
            ["127.0.0.1:1=127.0.0.1:1", "b=127.0.0.1:3"],
            "{text}"
        );
    };
    check(&mut world, "{", "no JSON");
    check(&mut world, "{}", "`address` is missing");
    check(
        &mut world,
        r#"{"address": "127.0.0.1:3", "weigth": 2}"#,
        "did you mean `weight`",
    );
    check(
        &mut world,
        r#"{"address": "127.0.0.1:3", "weight": 5000}"#,
        "out of bounds",
    );
    check(
        &mut world,
        r#"{"address": "127.0.0.1:3", "id": "c"}"#,
        "not what the key says",
    );
    check(&mut world, "[1]", "expected");
    let bad = world.view("upstreams/bad");
    assert_eq!((bad.status, bad.in_force), (DocumentStatus::Refused, None));
    assert_eq!(bad.diagnostics[0].line_and_column(), (1, 12));
    assert!(!world.now.upstreams.contains_key("bad"));
    assert_eq!(world.overlay.refused(SourceId::Etcd), 2);
}

#[test]
fn a_document_that_names_something_missing_waits_and_reports_it() {
    let mut world = World::new();
    world.apply(vec![
        put("routes/game", r#"{"path": "/game", "upstream": "game"}"#, 1),
        put("backends/game/a", r#""127.0.0.1:2""#, 2),
    ]);
    assert_eq!(world.routes(), ["chat"]);
    for key in ["routes/game", "backends/game/a"] {
        let view = world.view(key);
        assert_eq!(view.status, DocumentStatus::Waiting, "{key}");
        assert_eq!(view.waits_for.as_deref(), Some("upstream `game`"), "{key}");
    }
    assert_eq!(
        world
            .composer
            .waiting(&world.overlay, &world.now, SourceId::Etcd),
        2
    );
    world.apply(vec![put("upstreams/game", "{}", 3)]);
    assert_eq!(world.routes(), ["chat", "game"]);
    assert_eq!(world.backends("game"), ["a=127.0.0.1:2"]);
    assert_eq!(
        world
            .composer
            .waiting(&world.overlay, &world.now, SourceId::Etcd),
        0
    );

    // A version that waits leaves the one before it in force.
    world.apply(vec![put(
        "routes/game",
        r#"{"path": "/game", "upstream": "gone"}"#,
        4,
    )]);
    let view = world.view("routes/game");
    assert_eq!(
        (view.status, view.in_force),
        (DocumentStatus::Waiting, Some(1))
    );
    assert_eq!(world.routes(), ["chat", "game"]);

    world.apply(vec![put(
        "routes/login",
        r#"{"path": "/in", "upstream": "chat", "authenticate": ["users"]}"#,
        5,
    )]);
    let waits = world.view("routes/login").waits_for;
    assert_eq!(waits.as_deref(), Some("authenticator `users`"));
}

/// Where a browser sends the credential by itself, pages of other origins are kept out.
#[test]
fn a_route_is_checked_again_when_its_authenticator_changes() {
    let users = |from: &str, revision| {
        let secret = "not-to-be-seen-0123456789-abcdefghij";
        let text = format!(r#"{{"type": "jwt", "secret": "{secret}", "from": ["{from}"]}}"#);
        put("authenticators/users", &text, revision)
    };
    let asks_for_origin = |world: &World| {
        let mut routes = world.now.routes.iter();
        let route = routes.find(|route| route.name.as_str() == "in");
        route.expect("it is in force").origins.allowed.is_some()
    };
    let route = r#"{"path": "/in", "upstream": "chat", "authenticate": ["users"]}"#;
    let mut world = World::new();
    world.apply(vec![
        users("header:authorization", 1),
        put("routes/in", route, 2),
    ]);
    assert!(!asks_for_origin(&world));
    world.apply(vec![users("cookie:session", 3)]);
    assert!(asks_for_origin(&world));
    world.apply(vec![users("header:authorization", 4)]);
    assert!(!asks_for_origin(&world));
}

#[test]
fn a_deleted_upstream_stays_for_as_long_as_a_route_names_it() {
    let mut world = World::new();
    world.apply(vec![
        put("upstreams/game", "{}", 1),
        put("routes/game", r#"{"path": "/game", "upstream": "game"}"#, 2),
    ]);
    world.apply(vec![delete("upstreams/game")]);
    assert_eq!(world.routes(), ["chat", "game"]);
    assert_eq!(
        world.view("upstreams/game").status,
        DocumentStatus::Retained
    );
    world.apply(vec![delete("routes/game")]);
    assert!(!world.now.upstreams.contains_key("game"));
    assert!(world.overlay.is_empty());
}

#[test]
fn of_two_routes_that_exclude_each_other_the_older_stays() {
    let like_file = r#"{"path": "/chat", "upstream": "chat"}"#;
    let mut world = World::new();
    world.apply(vec![put("routes/rival", like_file, 1)]);
    assert_eq!(world.routes(), ["chat"]);
    let waits = world.view("routes/rival").waits_for.expect("it waits");
    assert!(waits.contains("route `chat`"), "{waits}");

    let one = r#"{"path": "/one", "upstream": "chat"}"#;
    let two = r#"{"path": "/two", "upstream": "chat"}"#;
    world.apply(vec![put("routes/a", one, 2), put("routes/b", two, 3)]);
    world.apply(vec![put("routes/a", two, 4)]);
    let view = world.view("routes/a");
    assert_eq!(
        (view.status, view.in_force),
        (DocumentStatus::Waiting, Some(2))
    );
    // When the older one is deleted, the younger takes effect.
    world.apply(vec![delete("routes/b")]);
    assert_eq!(world.view("routes/a").in_force, Some(4));
}

/// What waited for something and was written first is what a gateway that begins anew finds first.
#[test]
fn i2_of_two_routes_the_same_one_is_in_force_whichever_was_there_first() {
    let late = put("routes/late", r#"{"path": "/a", "upstream": "u"}"#, 1);
    let other = put("routes/other", r#"{"path": "/a", "upstream": "chat"}"#, 2);
    let upstream = put("upstreams/u", "{}", 3);
    let status = |world: &World| {
        let keys = ["routes/late", "routes/other"];
        keys.map(|key| world.view(key).in_force)
    };
    let mut long_here = World::new();
    long_here.apply(vec![late.clone(), other.clone()]);
    assert_eq!(status(&long_here), [None, Some(2)]);
    long_here.apply(vec![upstream.clone()]);
    let mut anew = World::new();
    anew.apply(vec![late, other.clone(), upstream.clone()]);
    assert_eq!(status(&anew), [Some(1), None]);
    assert_eq!(status(&long_here), status(&anew));
    // Written again, word for word, it is the younger one.
    let again = put("routes/late", r#"{"path": "/a", "upstream": "u"}"#, 4);
    long_here.apply(vec![again.clone()]);
    let mut anew = World::new();
    anew.apply(vec![other, upstream, again]);
    assert_eq!(status(&anew), [None, Some(2)]);
    assert_eq!(status(&long_here), status(&anew));
}

/// Any change among a few names, mostly good ones.
fn any_change() -> impl Strategy<Value = (String, Option<String>)> {
    let upstream = prop_oneof![Just("chat"), Just("u"), Just("v")];
    let text = |good: Vec<String>| {
        prop_oneof![
            6 => proptest::sample::select(good).prop_map(Some),
            2 => Just(None),
            1 => Just(Some("{\"nonsense\": 1}".to_owned())),
        ]
    };
    let backend = (
        upstream.clone(),
        0..3_u8,
        text(vec![
            "\"127.0.0.1:1\"".to_owned(),
            "{\"address\": \"127.0.0.1:2\", \"weight\": 3}".to_owned(),
        ]),
    );
    let backend = backend.prop_map(|(name, id, text)| (format!("backends/{name}/{id}"), text));
    let upstreams = (
        upstream.clone(),
        text(vec![
            "{}".to_owned(),
            "{\"policy\": \"random_two\"}".to_owned(),
        ]),
    );
    let upstreams = upstreams.prop_map(|(name, text)| (format!("upstreams/{name}"), text));
    let routes = (0..4_u8, upstream, 0..3_u8).prop_flat_map(move |(name, upstream, path)| {
        let good = format!("{{\"path\": \"/{path}\", \"upstream\": \"{upstream}\"}}");
        text(vec![good]).prop_map(move |text| (format!("routes/r{name}"), text))
    });
    prop_oneof![backend, upstreams, routes]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// What was taken over from the time before is what would have been made anew, every name in
    /// it resolves, and splitting changes into more updates changes nothing about members.
    #[test]
    fn composing_by_steps_is_composing_at_once(
        changes in proptest::collection::vec(any_change(), 1..40)
    ) {
        let mut world = World::new();
        for (revision, (key, text)) in (1..).zip(changes) {
            world.apply(vec![match text {
                Some(text) => put(&key, &text, revision),
                None => delete(&key),
            }]);
            for route in &world.now.routes {
                if let Action::Forward(upstream) = &route.action {
                    prop_assert!(world.now.upstreams.contains_key(upstream));
                }
            }
            let mut again = world.composer.clone();
            let anew = again.compose(&world.base, &mut world.overlay.clone(), None).snapshot;
            prop_assert_eq!(&anew.upstreams, &world.now.upstreams);
            let names = |snapshot: &Snapshot| {
                let routes = snapshot.routes.iter();
                let mut names: Vec<_> = routes.map(|one| one.name.to_string()).collect();
                names.sort_unstable();
                names
            };
            prop_assert_eq!(names(&anew), names(&world.now));
        }
    }
}

#[test]
fn i12_upstreams_that_were_written_last_have_no_backends_where_the_tables_would_be_too_large() {
    let mut world = World::new();
    // A ring of 64 MiB each, of which three fit beside the file's own.
    let heavy: Vec<_> = (0..30)
        .map(|n| format!(r#"{{"address":"10.0.0.{n}:1","weight":1000}}"#))
        .collect();
    let text = format!(r#"{{"backends":[{}]}}"#, heavy.join(","));
    let put = |name: &str, revision| {
        Change::Put(Document {
            key: DocumentKey::named(Kind::Upstream, name),
            text: text.as_str().into(),
            revision,
        })
    };
    let changes = [("e", 1), ("d", 2), ("c", 3), ("b", 4), ("a", 5)];
    world.apply(changes.map(|(name, revision)| put(name, revision)).to_vec());
    let backends = |world: &World, name: &str| world.now.upstreams[name].backends.len();
    for (name, expected) in [
        ("a", 0),
        ("b", 0),
        ("c", 30),
        ("d", 30),
        ("e", 30),
        ("chat", 1),
    ] {
        assert_eq!(backends(&world, name), expected, "{name}");
    }
    let views = world
        .composer
        .views(&world.base, &world.overlay, &world.now, UNIX_EPOCH);
    let waiting = views
        .iter()
        .filter(|view| view.status == DocumentStatus::Waiting);
    let waiting: Vec<_> = waiting.map(|view| view.key.as_str()).collect();
    assert_eq!(waiting, ["upstreams/a", "upstreams/b"]);
    // There is room again once one of the others has gone.
    world.apply(vec![Change::Delete(DocumentKey::named(
        Kind::Upstream,
        "e",
    ))]);
    assert_eq!((backends(&world, "a"), backends(&world, "b")), (0, 30));
}
