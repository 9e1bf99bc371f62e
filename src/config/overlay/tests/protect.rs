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
    world.overlay.protect(&Judge::new(&base));
    let composed = world.composer.compose(&base, &mut world.overlay, None);
    (world.now, world.base) = (composed.snapshot, base);
}

fn said(view: &DocumentView) -> String {
    let lines = view.diagnostics.iter().map(ToString::to_string);
    lines.collect::<Vec<_>>().join("\n")
}

/// Checks that this document is in force, with warnings that hold these texts.
fn check_warned(key: &str, text: &str, wanted: &[&str]) {
    let mut world = world("");
    world.apply(vec![put(key, text, 1)]);
    let view = world.view(key);
    assert_eq!(view.standing, Standing::InForce, "{key} {text}");
    let said = said(&view);
    for wanted in wanted {
        assert!(said.contains(wanted), "{key} {text}: {said}");
    }
    assert_eq!(wanted.is_empty(), said.is_empty(), "{key} {text}: {said}");
    assert_eq!(
        wanted.is_empty(),
        world.overlay.judged().is_empty(),
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
        let standing = if locked {
            Standing::Refused
        } else {
            Standing::InForce
        };
        assert_eq!(view.standing, standing, "[{protect}] {key} {text}");
        assert_eq!(view.in_force.is_none(), locked, "[{protect}] {key} {text}");
        assert_eq!(said(&view).contains("protect"), locked, "{}", said(&view));
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
    assert_eq!((view.standing, view.in_force), (Standing::Refused, Some(1)));
    assert_eq!(world.overlay.refused(), 1);
    // Another file decides anew, in both directions.
    judge_again(&mut world, "");
    let view = world.view("routes/more");
    assert_eq!((view.standing, view.in_force), (Standing::InForce, Some(2)));
    judge_again(&mut world, r#""routes/admin""#);
    let view = world.view("routes/more");
    assert_eq!((view.standing, view.in_force), (Standing::Refused, None));
    assert_eq!(world.routes(), ["admin", "chat"]);
}
