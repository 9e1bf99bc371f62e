//! Documents of several sources under the same names.

use super::*;

const WEAK: SourceId = SourceId::File;
const STRONG: SourceId = SourceId::Etcd;

/// Which route of the table below is in force, by the path that its layer gives it.
fn path_of(world: &World) -> String {
    let mut routes = world.now.routes.iter();
    let chat = routes.find(|route| route.name.as_str() == "chat");
    chat.map_or_else(String::new, |route| route.path.to_string())
}

fn route(path: &str, revision: i64) -> Change {
    let text = format!(r#"{{"path": "{path}", "upstream": "chat"}}"#);
    put("routes/chat", &text, revision)
}

/// Every combination of what the file, a weaker and a stronger source have under one name: absent,
/// refused, or good. The good version of the strongest one is in force, whichever came first.
#[test]
fn the_good_version_of_the_strongest_source_is_in_force() {
    let absent = None;
    let refused = |path: &str| Some(put("routes/chat", &format!(r#"{{"path": "{path}"}}"#), 9));
    let good = |path: &str| Some(route(path, 9));
    let table = [
        (absent.clone(), absent.clone(), "/chat"),
        (good("/weak"), absent.clone(), "/weak"),
        (absent.clone(), good("/strong"), "/strong"),
        (good("/weak"), good("/strong"), "/strong"),
        (good("/weak"), refused("/strong"), "/weak"),
        (refused("/weak"), good("/strong"), "/strong"),
        (refused("/weak"), absent, "/chat"),
        (refused("/weak"), refused("/strong"), "/chat"),
    ];
    for (weak, strong, expected) in table {
        for weak_first in [true, false] {
            let mut world = World::new();
            let mut layers = [(WEAK, weak.clone()), (STRONG, strong.clone())];
            if !weak_first {
                layers.reverse();
            }
            for (source, change) in layers {
                world.apply_of(source, change.into_iter().collect());
            }
            assert_eq!(
                path_of(&world),
                expected,
                "{weak:?} {strong:?} {weak_first}"
            );
        }
    }
}

#[test]
fn a_weaker_layer_shows_when_the_stronger_one_goes() {
    let mut world = World::new();
    world.apply_of(WEAK, vec![route("/weak", 1)]);
    world.apply_of(STRONG, vec![route("/strong", 1)]);
    world.apply_of(STRONG, vec![delete("routes/chat")]);
    assert_eq!(path_of(&world), "/weak");
    world.apply_of(WEAK, vec![delete("routes/chat")]);
    assert_eq!(path_of(&world), "/chat");
}

#[test]
fn what_won_and_from_where_is_visible() {
    let mut world = World::new();
    world.apply_of(WEAK, vec![route("/weak", 1)]);
    world.apply_of(
        STRONG,
        vec![route("/strong", 2), put("routes/bad", "{}", 3)],
    );
    let views = world
        .composer
        .views(&world.base, &world.overlay, &world.now, UNIX_EPOCH);
    let shown: Vec<_> = views
        .iter()
        .map(|view| {
            let source = (view.source, view.overridden_by, view.overrides_file);
            (&*view.key, source, view.status, view.in_force)
        })
        .collect();
    let expected = [
        (
            "routes/bad",
            (STRONG, None, false),
            DocumentStatus::Refused,
            None,
        ),
        (
            "routes/chat",
            (WEAK, Some(STRONG), false),
            DocumentStatus::Overridden,
            None,
        ),
        (
            "routes/chat",
            (STRONG, None, true),
            DocumentStatus::InForce,
            Some(2),
        ),
    ];
    assert_eq!(shown, expected);
    let counts = |source| (world.overlay.count(source), world.overlay.refused(source));
    assert_eq!((counts(WEAK), counts(STRONG)), ((1, 0), (2, 1)));
}

#[test]
fn backends_of_several_sources_stand_side_by_side() {
    let mut world = World::new();
    let backend = |id: &str, port: u16| {
        let key = format!("backends/chat/{id}");
        put(&key, &format!(r#"{{"address": "127.0.0.1:{port}"}}"#), 1)
    };
    world.apply_of(WEAK, vec![backend("a", 2), backend("b", 3)]);
    world.apply_of(STRONG, vec![backend("b", 4), backend("c", 5)]);
    let expected = [
        "127.0.0.1:1=127.0.0.1:1",
        "a=127.0.0.1:2",
        "b=127.0.0.1:4",
        "c=127.0.0.1:5",
    ];
    assert_eq!(world.backends("chat"), expected);
    world.apply_of(STRONG, vec![delete("backends/chat/b")]);
    assert_eq!(world.backends("chat")[2], "b=127.0.0.1:3");
}

#[test]
fn a_deleted_upstream_that_is_named_yields_to_another_source() {
    let mut world = World::new();
    let upstream = |policy: &str| put("upstreams/game", &format!(r#"{{"policy": "{policy}"}}"#), 1);
    let route = put("routes/game", r#"{"path": "/game", "upstream": "game"}"#, 2);
    world.apply_of(STRONG, vec![upstream("maglev"), route]);
    // A route names it, so it is retained.
    world.apply_of(STRONG, vec![delete("upstreams/game")]);
    assert_eq!(world.routes(), ["chat", "game"]);
    assert_eq!(
        world.view("upstreams/game").status,
        DocumentStatus::Retained
    );
    world.apply_of(WEAK, vec![upstream("round_robin")]);
    assert_eq!(world.view("upstreams/game").source, WEAK);
    let game = &world.now.upstreams["game"];
    assert!(
        format!("{:?}", game.policy).contains("RoundRobin"),
        "{game:?}"
    );
}

#[test]
fn good_versions_are_kept_by_source() {
    let mut world = World::new();
    world.apply_of(WEAK, vec![route("/weak", 1)]);
    world.apply_of(STRONG, vec![route("/strong", 7)]);
    let revisions = |source| -> Vec<_> {
        let good = world.overlay.good_documents(source).into_iter();
        good.map(|document| document.revision).collect()
    };
    assert_eq!((revisions(WEAK), revisions(STRONG)), (vec![1], vec![7]));
}
