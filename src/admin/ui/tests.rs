use axum::Router;
use axum::body::Body;
use axum::http::Request;
use http_body_util::BodyExt as _;
use tower::ServiceExt as _;

use super::*;
use crate::admin::guard::Guard;
use crate::admin::server;
use crate::admin::tests::support::{Fixture, admin, built_in, fixture};

const TCP: &str = "127.0.0.1:9900";

fn router(fixture: &Fixture, token: Option<&str>) -> Router {
    server::router(fixture.gateway.clone(), Guard::new(&admin(TCP, token)))
}

/// The answer to a request with these fields.
async fn ask(
    token: Option<&str>,
    (method, target): (&str, &str),
    fields: &[(&str, &str)],
) -> (u16, HeaderMap, String) {
    let mut request = Request::builder().method(method).uri(target);
    for (name, value) in [("host", TCP)].iter().chain(fields) {
        request = request.header(*name, *value);
    }
    let request = request.body(Body::empty()).expect("a request");
    let fixture = fixture(built_in(), vec![]);
    let answer = router(&fixture, token).oneshot(request).await;
    let (head, body) = answer.expect("never fails").into_parts();
    let bytes = body.collect().await.expect("a body").to_bytes();
    let text = String::from_utf8(bytes.to_vec()).expect("UTF-8");
    (head.status.as_u16(), head.headers, text)
}

/// What each answer of the dashboard has, whatever its status.
fn assert_protected(headers: &HeaderMap, what: &str) {
    let policy = headers["content-security-policy"].to_str().expect(what);
    for part in [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "connect-src 'self'",
        "frame-ancestors 'none'",
        "base-uri 'none'",
        "form-action 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    ] {
        assert!(policy.split("; ").any(|one| one == part), "{what}: {part}");
    }
    assert!(!policy.contains("unsafe"), "{what}: {policy}");
    for (name, value) in [
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "no-referrer"),
        ("x-frame-options", "DENY"),
        ("cross-origin-opener-policy", "same-origin"),
        ("cross-origin-resource-policy", "same-origin"),
    ] {
        assert_eq!(headers[name], value, "{what}: {name}");
    }
}

#[tokio::test]
async fn every_file_is_served_without_a_token_and_protected() {
    for asset in ASSETS {
        let target = format!("/ui/{}", asset.name);
        let (status, headers, body) = ask(Some("s3cret"), ("GET", &target), &[]).await;
        assert_eq!(status, 200, "{target}");
        assert_eq!(headers["content-type"], asset.kind, "{target}");
        assert_eq!(headers["cache-control"], "no-cache", "{target}");
        assert_eq!(body, asset.body, "{target}");
        assert_protected(&headers, &target);
        let (status, headers, body) = ask(Some("s3cret"), ("HEAD", &target), &[]).await;
        assert_eq!((status, &*body), (200, ""), "HEAD {target}");
        assert_protected(&headers, &target);
    }
    let (status, headers, body) = ask(Some("s3cret"), ("GET", "/ui/"), &[]).await;
    assert_eq!(status, 200);
    assert_protected(&headers, "/ui/");
    let index = ASSETS.iter().find(|asset| asset.name == PAGE_FILE);
    assert_eq!(body, index.expect("it is there").body);
}

#[tokio::test]
async fn a_file_that_a_browser_has_is_not_sent_again() {
    let (_, headers, _) = ask(None, ("GET", "/ui/app.js"), &[]).await;
    let tag = headers["etag"].to_str().expect("text").to_owned();
    let (_, other, _) = ask(None, ("GET", "/ui/api.js"), &[]).await;
    assert_ne!(other["etag"], tag);
    let lists = [
        (tag.clone(), 304),
        (format!("W/{tag}"), 304),
        (format!("\"other\", {tag}"), 304),
        ("*".to_owned(), 304),
        ("\"other\"".to_owned(), 200),
        (tag.trim_matches('"').to_owned(), 200),
        (String::new(), 200),
    ];
    for (list, expected) in lists {
        for method in ["GET", "HEAD"] {
            let fields = [("if-none-match", &*list)];
            let (status, headers, body) = ask(None, (method, "/ui/app.js"), &fields).await;
            assert_eq!(status, expected, "{method} {list}");
            assert_eq!(headers["etag"], tag, "{method} {list}");
            let sent = expected == 200 && method == "GET";
            assert_eq!(!body.is_empty(), sent, "{method} {list}");
            assert_protected(&headers, &list);
        }
    }
}

#[tokio::test]
async fn nothing_but_the_files_is_open() {
    let token = Some("s3cret");
    for (method, target, expected) in [
        ("GET", "/ui/none.js", 404),
        ("GET", "/ui/..", 404),
        ("GET", "/ui/../v1/status", 404),
        ("GET", "/ui/%2e%2e%2fv1%2fstatus", 404),
        ("GET", "/ui/a/b", 404),
        ("POST", "/ui/", 401),
        ("DELETE", "/ui/app.js", 401),
        ("GET", "/uix", 401),
        ("POST", "/v1/whoami", 401),
        ("GET", "/v1/traffic", 401),
    ] {
        let (status, headers, body) = ask(token, (method, target), &[]).await;
        assert_eq!(status, expected, "{method} {target}: {body}");
        assert!(!body.contains("edge-1"), "{method} {target}: {body}");
        if target.starts_with(PAGE) {
            assert_protected(&headers, target);
        }
    }
}

#[tokio::test]
async fn the_files_hold_no_data_and_load_nothing_from_elsewhere() {
    for asset in ASSETS {
        let text = asset.body.replace("http://www.w3.org/2000/svg", "");
        for mark in ["http:", "https:", "//cdn", "@import", "innerHTML", "eval("] {
            assert!(!text.contains(mark), "{} has {mark}", asset.name);
        }
        let inline = asset.kind.starts_with("text/html") && text.contains(" style=");
        assert!(!inline, "{} has a style of its own", asset.name);
        for line in text.lines().filter(|line| line.starts_with("import ")) {
            let from = line
                .split("\"./")
                .nth(1)
                .and_then(|rest| rest.split('"').next());
            let known = ASSETS.iter().any(|one| Some(one.name) == from);
            assert!(known, "{}: {line}", asset.name);
        }
    }
}

#[test]
fn every_file_in_the_folder_is_served() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/admin/ui");
    let entries = std::fs::read_dir(folder).expect("a folder");
    let names = entries.map(|entry| entry.expect("an entry").file_name());
    let mut found: Vec<_> = names.filter_map(|name| name.into_string().ok()).collect();
    found.retain(|name| !name.ends_with(".rs"));
    found.sort();
    let mut served: Vec<_> = ASSETS.iter().map(|asset| asset.name).collect();
    served.sort_unstable();
    assert_eq!(found, served);
    for asset in ASSETS {
        let lines = asset.body.lines().count();
        assert!(lines <= 300, "{} has {lines} lines", asset.name);
    }
}

#[tokio::test]
async fn browsers_find_the_dashboard_and_programs_the_list() {
    let html = ("accept", "text/html,application/xhtml+xml,*/*;q=0.8");
    for token in [None, Some("s3cret")] {
        for (target, fields) in [("/", &[html][..]), ("/ui", &[])] {
            let (status, headers, body) = ask(token, ("GET", target), fields).await;
            assert_eq!((status, &*body), (307, ""), "{target}");
            assert_eq!(headers["location"], "/ui/", "{target}");
        }
    }
    let (status, _, body) = ask(None, ("GET", "/"), &[("accept", "*/*")]).await;
    assert_eq!(status, 200);
    assert!(body.contains("\"dashboard\":\"/ui/\""), "{body}");
    let (status, _, _) = ask(Some("s3cret"), ("GET", "/"), &[("accept", "*/*")]).await;
    assert_eq!(status, 401);
}

#[tokio::test]
async fn a_link_on_another_page_opens_the_dashboard_and_nothing_else() {
    let opened = [
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-mode", "navigate"),
        ("sec-fetch-dest", "document"),
    ];
    let check = async |target: &str, fields: &[(&str, &str)], expected: u16| {
        let (status, _, body) = ask(None, ("GET", target), fields).await;
        assert_eq!(status, expected, "{target} {fields:?}: {body}");
    };
    check("/ui/", &opened, 200).await;
    check("/ui/app.js", &opened, 403).await;
    check("/v1/status", &opened, 403).await;
    check("/metrics", &opened, 403).await;
    let framed = ("sec-fetch-dest", "iframe");
    check("/ui/", &[opened[0], opened[1], framed], 403).await;
    let fetched = [opened[0], ("sec-fetch-mode", "no-cors"), opened[2]];
    check("/ui/", &fetched, 403).await;
    check("/ui/", &[("sec-fetch-site", "same-origin")], 200).await;
}

#[tokio::test]
async fn a_client_reads_its_name_and_its_role() {
    let with = |token: &str| format!("Bearer {token}");
    let fixture = fixture(built_in(), vec![]);
    let guard = Guard::new(&crate::config::snapshot::Admin {
        read_token: Some(crate::admin::tests::support::lasting("look")),
        ..admin(TCP, Some("s3cret"))
    });
    for (token, operator, role) in [
        ("s3cret", "token", "operate"),
        ("look", "read_token", "read"),
    ] {
        let request = Request::get("/v1/whoami").header("authorization", with(token));
        let request = request.body(Body::empty()).expect("a request");
        let router = server::router(fixture.gateway.clone(), guard.clone());
        let answer = router.oneshot(request).await.expect("never fails");
        let bytes = answer
            .into_body()
            .collect()
            .await
            .expect("a body")
            .to_bytes();
        let found: serde_json::Value = serde_json::from_slice(&bytes).expect("JSON");
        let expected = serde_json::json!({ "operator": operator, "role": role, "node": "edge-1" });
        assert_eq!(found, expected);
    }
    let refused = [None, Some(("authorization", "Bearer wrong"))];
    for fields in refused.iter().map(Option::as_slice) {
        let (status, _, body) = ask(Some("s3cret"), ("GET", "/v1/whoami"), fields).await;
        let nothing = "{\"operator\":null,\"role\":\"none\",\"node\":null}";
        assert_eq!((status, &*body), (200, nothing), "{fields:?}");
    }
    let (_, _, body) = ask(None, ("GET", "/v1/whoami"), &[]).await;
    assert!(
        body.contains("\"operator\":\"local\",\"role\":\"operate\""),
        "{body}"
    );
}
