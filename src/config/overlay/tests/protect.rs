//! Documents that override or weaken what the file guards.

use super::*;

/// A guarded route beside an open one. `{}` is what the file protects.
const GUARDED: &str = r#"
[[listeners]]
name = "edge"
listen = ["127.0.0.1:0"]

[sources.etcd]
endpoints = ["http://127.0.0.1:2379"]
protect = [{}]

[authenticators.users]
type = "jwt"
secret = "not-to-be-seen-0123456789-abcdefghij"
algorithms = ["HS256"]

[upstreams.chat]
backends = ["127.0.0.1:1"]

[upstreams.safe]
backends = ["127.0.0.1:2"]
tls = {}

[revocations.ann]
subject = "ann"

[[routes]]
name = "admin"
path = "/admin/{*rest}"
upstream = "safe"
authenticate = ["users"]
authorize = ["claim:role == admin"]

[[routes]]
name = "chat"
upstream = "chat"
"#;

const OPEN: &str = r#"{"path": "/admin/{*rest}", "upstream": "chat"}"#;
const SHADOW: &str = r#"{"path": "/admin/keys", "upstream": "chat"}"#;

fn world(protect: &str) -> World {
    World::of(&GUARDED.replacen("[{}]", &format!("[{protect}]"), 1))
}

fn judge_again(world: &mut World, protect: &str) {
    let base = self::world(protect).base;
    world.overlay.protect(&FileProtection::new(&base));
    let composed = world.composer.compose(&base, &mut world.overlay, None);
    (world.now, world.base) = (composed.snapshot, base);
}

fn fault_of(view: &DocumentView) -> String {
    let lines = view.diagnostics.iter().map(ToString::to_string);
    lines.collect::<Vec<_>>().join("\n")
}

/// Checks that this document is in force, with warnings that hold these texts.
fn check_warned(key: &str, text: &str, wanted: &[&str]) {
    let mut world = world("");
    world.apply(vec![put(key, text, 1)]);
    let view = world.view(key);
    assert_eq!(
        view.status,
        DocumentStatus::InForce,
        "{key} {text} {}",
        fault_of(&view)
    );
    let fault_of = fault_of(&view);
    for wanted in wanted {
        assert!(fault_of.contains(wanted), "{key} {text}: {fault_of}");
    }
    assert_eq!(
        wanted.is_empty(),
        fault_of.is_empty(),
        "{key} {text}: {fault_of}"
    );
    assert_eq!(
        wanted.is_empty(),
        world.overlay.protection_diagnostics().is_empty(),
        "{key} {text}"
    );
}

#[test]
fn i12_a_route_that_weakens_the_file_is_shown_with_a_warning() {
    let like = |more: &str| {
        format!(
            r#"{{"path": "/admin/{{*rest}}", "upstream": "safe", "authenticate": ["users"]{more}}}"#
        )
    };
    let condition = r#", "authorize": ["claim:role == admin"]"#;
    check_warned("routes/admin", OPEN, &["asks for no credential"]);
    check_warned("routes/admin", &like(""), &["a condition of `authorize`"]);
    check_warned("routes/admin", &like(condition), &[]);
    check_warned(
        "routes/admin",
        &like(condition).replace("/admin/", "/other/"),
        &["matches other requests"],
    );
    check_warned(
        "routes/more",
        SHADOW,
        &[
            "takes requests of the file's route `admin`",
            "asks for no credential",
        ],
    );
    let on_host = r#"{"hosts": ["a.test"], "upstream": "chat"}"#;
    check_warned("routes/more", on_host, &["route `admin`"]);
    check_warned(
        "routes/more",
        r#"{"path": "/{a}/{b}", "upstream": "chat"}"#,
        &[],
    );
    check_warned(
        "routes/more",
        r#"{"path": "/public", "upstream": "chat"}"#,
        &[],
    );
}

#[test]
fn i12_whatever_else_weakens_the_file_is_shown_with_a_warning() {
    let anonymous = r#"{"type": "anonymous"}"#;
    check_warned(
        "authenticators/users",
        anonymous,
        &["route `admin` asks for"],
    );
    check_warned("authenticators/guests", anonymous, &[]);
    check_warned(
        "upstreams/safe",
        r#"{"backends": ["127.0.0.1:2"]}"#,
        &["without the TLS"],
    );
    check_warned(
        "upstreams/safe",
        r#"{"backends": ["127.0.0.1:3"], "tls": {}}"#,
        &["guarded route `admin` leads"],
    );
    check_warned("upstreams/chat", r#"{"policy": "maglev"}"#, &[]);
    check_warned(
        "backends/safe/127.0.0.1:2",
        r#""127.0.0.1:9""#,
        &["at 127.0.0.1:2"],
    );
    check_warned("backends/safe/new", r#""127.0.0.1:9""#, &[]);
    check_warned(
        "revocations/ann",
        r#"{"subject": "bob"}"#,
        &["the file's revocation `ann`"],
    );
}

#[test]
fn i12_what_the_file_protects_no_document_changes() {
    let check = |protect: &str, key: &str, text: &str, locked: bool| {
        let mut world = world(protect);
        world.apply(vec![put(key, text, 1)]);
        let view = world.view(key);
        let status = if locked {
            DocumentStatus::Refused
        } else {
            DocumentStatus::InForce
        };
        assert_eq!(view.status, status, "[{protect}] {key} {text}");
        assert_eq!(view.in_force.is_none(), locked, "[{protect}] {key} {text}");
        assert_eq!(
            fault_of(&view).contains("protect"),
            locked,
            "{}",
            fault_of(&view)
        );
        if locked {
            assert_eq!(world.now.upstreams, world.base.upstreams);
            assert_eq!(world.now.authenticators, world.base.authenticators);
            assert_eq!(world.now.revocations, world.base.revocations);
            assert_eq!(world.routes(), ["admin", "chat"]);
        }
    };
    let anonymous = r#"{"type": "anonymous"}"#;
    check(r#""routes/admin""#, "routes/admin", OPEN, true);
    check(r#""routes/admin""#, "routes/more", SHADOW, true);
    check(r#""routes/admin""#, "authenticators/users", anonymous, true);
    check(r#""routes/admin""#, "upstreams/safe", "{}", true);
    check(
        r#""routes/admin""#,
        "authenticators/guests",
        anonymous,
        false,
    );
    check(
        r#""routes/admin""#,
        "routes/more",
        r#"{"path": "/x", "upstream": "chat"}"#,
        false,
    );
    check(
        r#""routes/*""#,
        "routes/chat",
        r#"{"upstream": "chat"}"#,
        true,
    );
    check(
        r#""routes/*""#,
        "routes/more",
        r#"{"path": "/x", "upstream": "chat"}"#,
        false,
    );
    check(
        r#""authenticators/*""#,
        "authenticators/users",
        anonymous,
        true,
    );
    check(
        r#""backends/safe/*""#,
        "backends/safe/new",
        r#""127.0.0.1:9""#,
        true,
    );
    check(
        r#""backends/safe/*""#,
        "backends/chat/new",
        r#""127.0.0.1:9""#,
        false,
    );
    let bob = r#"{"subject": "bob"}"#;
    check(r#""revocations/ann""#, "revocations/ann", bob, true);
    check(r#""*""#, "revocations/ann", bob, true);
}

#[test]
fn i4_a_version_that_is_locked_out_leaves_the_one_before_it_in_force() {
    let mut world = world(r#""routes/admin""#);
    world.apply(vec![put(
        "routes/more",
        r#"{"path": "/x", "upstream": "chat"}"#,
        1,
    )]);
    world.apply(vec![put("routes/more", SHADOW, 2)]);
    let view = world.view("routes/more");
    assert_eq!(
        (view.status, view.in_force),
        (DocumentStatus::Refused, Some(1))
    );
    assert_eq!(world.overlay.refused(SourceId::Etcd), 1);
    // Another file decides anew, in both directions.
    judge_again(&mut world, "");
    let view = world.view("routes/more");
    assert_eq!(
        (view.status, view.in_force),
        (DocumentStatus::InForce, Some(2))
    );
    judge_again(&mut world, r#""routes/admin""#);
    let view = world.view("routes/more");
    assert_eq!(
        (view.status, view.in_force),
        (DocumentStatus::Refused, None)
    );
    assert_eq!(world.routes(), ["admin", "chat"]);
}

const ASKING: &str = r#"{"path": "/admin/{*rest}", "upstream": "safe", "authenticate": ["users"], "authorize": ["claim:role == admin"]}"#;

/// Documents that weaken the route `admin` though they bear other names, or ask for the same.
fn ways_round() -> Vec<(&'static str, String, &'static str)> {
    let like = |more: &str| ASKING.replace("]}", &format!("]{more}}}"));
    let mint = |path: &str| {
        format!(
            r#"{{"type": "signed_url", "secret": "0123456789-0123456789-0123456789", "mint": "{path}", "mint_for": ["users"]}}"#
        )
    };
    vec![
        (
            "routes/admin",
            like(r#", "origins": ["https://evil.example"]"#),
            "`origins`",
        ),
        (
            "routes/admin",
            like(r#", "expiry": {"leeway": "1h"}"#),
            "outlive their credentials",
        ),
        (
            "routes/more",
            r#"{"path": "/x/{*rest}", "upstream": "safe", "rewrite": {"path": "/admin/{rest}"}}"#
                .to_owned(),
            "by its `rewrite` it reaches what the file's route `admin`",
        ),
        (
            "routes/more",
            r#"{"path": "/x/{*rest}", "upstream": "safe", "rewrite": {"strip_prefix": "/x"}}"#
                .to_owned(),
            "by its `rewrite`",
        ),
        (
            "routes/more",
            r#"{"path": "/{a}/{*rest}", "upstream": "safe", "paths": {"lookalikes": "pass"}}"#
                .to_owned(),
            "by the spellings",
        ),
        (
            "authenticators/more",
            mint("/admin/keys"),
            "a path of the file's route `admin`",
        ),
        (
            "routes/more",
            r#"{"path": "/x", "upstream": "chat", "authenticate": ["users"], "renew": "/admin/keys"}"#
                .to_owned(),
            "a path of the file's route `admin`",
        ),
    ]
}

#[test]
fn i12_ways_round_a_guarded_route_are_shown_and_can_be_locked() {
    for (key, text, says) in ways_round() {
        check_warned(key, &text, &[says]);
        let mut world = world(r#""routes/admin""#);
        world.apply(vec![put(key, &text, 1)]);
        let view = world.view(key);
        assert_eq!(view.status, DocumentStatus::Refused, "{key} {text}");
        assert!(fault_of(&view).contains("protect"), "{}", fault_of(&view));
        assert_eq!(world.routes(), ["admin", "chat"]);
    }
    // The same to another upstream leads nowhere near it.
    let elsewhere =
        r#"{"path": "/x/{*rest}", "upstream": "chat", "rewrite": {"path": "/admin/{rest}"}}"#;
    check_warned("routes/more", elsewhere, &[]);
}

#[test]
fn i12_a_protected_route_keeps_all_settings_of_its_upstream() {
    let check = |route: &str, key: &str, text: &str| {
        let mut world = world(&format!(r#""routes/{route}""#));
        world.apply(vec![put(key, text, 1)]);
        assert_eq!(
            world.view(key).status,
            DocumentStatus::Refused,
            "{key} {text}"
        );
        assert_eq!(world.now.upstreams, world.base.upstreams);
    };
    let attempts = r#"{"backends": ["127.0.0.1:2"], "tls": {}, "attempts": 9}"#;
    check("admin", "upstreams/safe", attempts);
    check("admin", "backends/safe/127.0.0.1:2", r#""127.0.0.1:9""#);
    // A route need not be guarded to be protected.
    check("chat", "upstreams/chat", r#"{"backends": ["127.0.0.1:9"]}"#);
    check("chat", "upstreams/chat", r#"{"policy": "maglev"}"#);
}

#[test]
fn i12_a_protected_route_keeps_those_who_may_have_its_tickets() {
    let file = GUARDED.replacen("[{}]", r#"["routes/admin"]"#, 1).replacen(
        "authenticate = [\"users\"]",
        "authenticate = [\"tickets\"]",
        1,
    ) + r#"
[authenticators.tickets]
type = "signed_url"
secret = "0123456789-0123456789-0123456789"
mint = "/ticket"
mint_for = ["users"]
"#;
    let check = |key: &str, text: &str| {
        let mut world = World::of(&file);
        world.apply(vec![put(key, text, 1)]);
        assert_eq!(
            world.view(key).status,
            DocumentStatus::Refused,
            "{key} {text}"
        );
        assert_eq!(world.now.authenticators, world.base.authenticators);
    };
    check("authenticators/users", r#"{"type": "anonymous"}"#);
    check("authenticators/tickets", r#"{"type": "anonymous"}"#);
}

#[test]
fn i12_another_place_for_tickets_is_locked_with_the_authenticator_that_has_it() {
    let file = GUARDED.replacen("[{}]", r#"["authenticators/*"]"#, 1)
        + r#"
[authenticators.tickets]
type = "signed_url"
secret = "0123456789-0123456789-0123456789"
mint = "/ticket"
mint_for = ["users"]
"#;
    let mut world = World::of(&file);
    let text = r#"{"type": "signed_url", "secret": "abcdefghij-abcdefghij-abcdefghij", "mint": "/ticket", "mint_for": ["users"]}"#;
    world.apply(vec![put("authenticators/zz", text, 1)]);
    let view = world.view("authenticators/zz");
    assert_eq!(view.status, DocumentStatus::Refused);
    assert!(fault_of(&view).contains("`authenticators/tickets` of the file"));
}

#[test]
fn i12_an_accepted_version_does_not_outlive_what_the_file_comes_to_protect() {
    let mut world = world("");
    world.apply(vec![put("routes/more", SHADOW, 1)]);
    // Good, but it waits: the version before it stays.
    let waiting = r#"{"path": "/x", "upstream": "missing"}"#;
    world.apply(vec![put("routes/more", waiting, 2)]);
    assert_eq!(world.view("routes/more").in_force, Some(1));
    judge_again(&mut world, r#""routes/admin""#);
    let view = world.view("routes/more");
    assert_eq!(
        (view.status, view.in_force),
        (DocumentStatus::Waiting, None)
    );
    assert_eq!(world.routes(), ["admin", "chat"]);
}

#[test]
fn i12_many_backends_in_one_upstream_take_nothing_from_others() {
    let mut world = World::new();
    let heavy = |upstream: &str| {
        let backends = (0..30).map(|n| {
            let key = format!("backends/{upstream}/{n}");
            let text = format!(r#"{{"address":"10.0.0.{n}:1","weight":1000}}"#);
            put(&key, &text, 9)
        });
        backends.collect::<Vec<_>>()
    };
    for (number, name) in ["a", "b", "c", "d", "z"].into_iter().enumerate() {
        let text = r#"{"backends": ["10.0.1.1:1"]}"#;
        let revision = i64::try_from(number).expect("it is small");
        world.apply(vec![put(&format!("upstreams/{name}"), text, revision)]);
    }
    world.apply(vec![put("backends/z/own", r#""10.0.1.2:1""#, 6)]);
    for name in ["a", "b", "c", "d", "chat"] {
        world.apply(heavy(name));
    }
    let backends = |name: &str| world.now.upstreams[name].backends.len();
    // What one document adds to `z` is little; of the rings of 64 MiB three fit.
    assert_eq!(backends("z"), 2);
    for (name, expected) in [("chat", 31), ("a", 31), ("b", 31), ("c", 1), ("d", 1)] {
        assert_eq!(backends(name), expected, "{name}");
    }
    assert_eq!(world.view("upstreams/d").status, DocumentStatus::InForce);
    assert_eq!(world.view("backends/d/1").status, DocumentStatus::Waiting);
}

const FUNCTIONS: &str = r#"
[[listeners]]
name = "edge"
listen = ["127.0.0.1:0"]

[authenticators.users]
type = "jwt"
secret = "not-to-be-seen-0123456789-abcdefghij"

[functions.chat]
dialect = "aws"
url = "http://127.0.0.1:9000/"

[[routes]]
name = "chat"
path = "/chat"
function = "chat"
authenticate = ["users"]
"#;

/// A function sees no path, so that every route to it is a way around the guard of another.
#[test]
fn i12_a_route_to_a_guarded_function_asks_for_no_less() {
    let apply = |protect: &str, text: &str| {
        let mut world = World::of(&format!("{protect}{FUNCTIONS}"));
        world.apply(vec![put("routes/more", text, 1)]);
        let warned = world.overlay.protection_diagnostics();
        (world.routes().len(), format!("{warned:?}"))
    };
    let open = r#"{"path": "/open", "function": "chat"}"#;
    let (routes, warned) = apply("", open);
    assert_eq!(routes, 2);
    let wanted = "through its function it reaches what the file's route `chat` leads to";
    assert!(warned.contains(wanted), "{warned}");
    let protect = "[sources.etcd]\nendpoints = [\"http://127.0.0.1:2379\"]\n\
        protect = [\"routes/chat\"]\n";
    assert_eq!(apply(protect, open).0, 1, "the file protects it");
    let guarded = r#"{"path": "/open", "function": "chat", "authenticate": ["users"]}"#;
    let (routes, warned) = apply(protect, guarded);
    assert!(routes == 2 && !warned.contains(wanted), "{warned}");
    // The file alone has functions.
    let unknown = r#"{"path": "/open", "function": "other"}"#;
    assert_eq!(apply("", unknown).0, 1);
}
