use super::*;
use crate::config::conflict::tests::route;
use crate::config::snapshot::Rewrite;

/// A host (none is any), a path, and `strip PREFIX`, `path TEMPLATE` or `host NAME`.
fn on(host: &str, path: &str, rewrite: &str) -> Route {
    let (kind, value) = rewrite.split_once(' ').unwrap_or_default();
    let value = value.to_owned();
    Route {
        hosts: host.parse().into_iter().collect(),
        rewrite: Rewrite {
            strip_prefix: (kind == "strip").then(|| value.clone()),
            path: (kind == "path").then(|| value.parse().expect("a template")),
            host: (kind == "host").then_some(value),
        },
        ..route("r", path)
    }
}

#[test]
fn i13_ways_round_a_guarded_route_are_found() {
    type Described<'t> = (&'t str, &'t str, &'t str);
    let check = |own: Described<'_>, guarded: Described<'_>, expected: Option<Reach>| {
        let found = reaches(
            &on(own.0, own.1, own.2),
            &on(guarded.0, guarded.1, guarded.2),
        );
        assert_eq!(found, expected, "{own:?} beside {guarded:?}");
    };
    let admin = ("", "/admin/{*rest}", "");
    check(("", "/{*rest}", ""), admin, None);
    check(("", "/x", ""), admin, None);
    let rewrite = Some(Reach::Rewrite);
    check(("", "/x/{*rest}", "path /admin/{rest}"), admin, rewrite);
    check(("", "/x/{*rest}", "path /{*rest}"), admin, rewrite);
    check(("", "/x/{*rest}", "path /{rest}/keys"), admin, rewrite);
    check(("", "/x/{a}/{b}", "path /{a}/{b}"), admin, rewrite);
    check(("", "/x/{a}/{b}", "path /open/{a}/{b}"), admin, None);
    check(("", "/x", "path /%61dmin"), admin, rewrite);
    check(("", "/x/{*rest}", "strip /x"), admin, rewrite);
    check(("", "/x/open/{*rest}", "strip /x"), admin, None);
    check(("", "/{*rest}", "strip /x"), admin, rewrite);
    check(("", "/x", "strip /x"), admin, None);
    // What the backend guards is where the guarded route leads to.
    let stripped = ("", "/admin/{*rest}", "strip /admin");
    check(("", "/keys", ""), stripped, rewrite);
    let on_host = ("a.test", "/admin/{*rest}", "");
    check(("a.test", "/{*rest}", ""), on_host, None);
    check(("b.test", "/{*rest}", ""), on_host, Some(Reach::Host));
    check(("", "/{*rest}", ""), on_host, Some(Reach::Host));
    check(("b.test", "/open", ""), on_host, None);
    check(("b.test", "/{*rest}", "host a.test"), on_host, rewrite);
    let wide = ("*.test", "/admin/{*rest}", "");
    check(("b.test", "/{*rest}", ""), wide, None);
    check(("*.b.test", "/{*rest}", ""), wide, None);
    check(("*.other", "/{*rest}", ""), wide, Some(Reach::Host));
}

#[test]
fn i13_spellings_that_are_passed_on_lead_round_a_guarded_route() {
    let lookalikes = PathRules {
        lookalikes: true,
        ..PathRules::default()
    };
    let passing = |path: &str| Route {
        paths: lookalikes,
        ..route("r", path)
    };
    let guarded = route("g", "/admin/{*rest}");
    let found = reaches(&passing("/{*rest}"), &guarded);
    assert_eq!(found, Some(Reach::Spelling));
    assert_eq!(reaches(&passing("/open"), &guarded), None);
    let guarded = passing("/admin/{*rest}");
    assert_eq!(reaches(&passing("/{*rest}"), &guarded), None);
}

#[test]
fn an_own_answer_stands_before_the_routes_of_its_path() {
    let guarded = route("g", "/admin/{*rest}");
    for path in ["/admin", "/admin/keys", "/admin/a/b"] {
        assert!(answers_at(path, &guarded), "{path}");
    }
    assert!(!answers_at("/ticket", &guarded));
    assert!(answers_at("/a/x", &route("g", "/{a}/x")));
    assert!(!answers_at("/a/x/", &route("g", "/{a}/x")));
}
