//! Routes that serve files: the page beside the sockets.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use bytes::Bytes;
use http_body_util::Full;
use hyper::Request;
use serde_json::json;
use tempfile::TempDir;

use crate::support::etcd::Etcd;
use crate::support::etcd_world::following;
use crate::support::http::Whole;
use crate::support::raw::UPGRADE;
use crate::support::{Backend, Client, Gateway, Raw, config, eventually, http};

/// A directory `site` with a page, a script and more; a secret lies beside it.
fn site() -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, content: &[u8]| {
        let path = directory.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    };
    write("secret.txt", b"secret");
    write("site/index.html", b"<title>page</title>");
    write("site/app.js", b"script");
    write("site/app.js.br", b"brotli");
    write("site/app.js.gz", b"gzip");
    write("site/assets/a-1.css", b"style");
    write("site/docs/index.html", b"docs");
    write("site/.env", b"secret");
    write("site/.well-known/security.txt", b"contact");
    write("site/digits", b"0123456789");
    let large: Vec<_> = (0..1_000_000_u32).map(|at| (at % 251) as u8).collect();
    write("site/large", &large);
    symlink("../secret.txt", directory.path().join("site/out")).unwrap();
    symlink("app.js", directory.path().join("site/inside.js")).unwrap();
    directory
}

/// A gateway that serves it, and leads `/ws` to a backend.
async fn gateway(backend: &Backend, site: &Path, keys: &str, route: &str) -> Gateway {
    let members = config::members(&[backend.address]);
    let site = site.join("site");
    Gateway::start(&format!(
        "[upstreams.echo]\n{members}\n\
         [[routes]]\nname = \"sockets\"\npath = \"/ws\"\nupstream = \"echo\"\n\
         [[routes]]\nname = \"page\"\nstatic = {{ dir = {site:?}{keys} }}\n{route}\n"
    ))
    .await
}

/// Status, text and media type.
fn shown(answer: &Whole) -> (u16, &str, &str) {
    let kind = answer.header("content-type").unwrap_or_default();
    (answer.status, answer.text(), kind)
}

#[tokio::test]
async fn one_gateway_serves_the_page_and_its_sockets() {
    let backend = Backend::echo().await;
    let site = site();
    let gateway = gateway(&backend, site.path(), ", immutable = [\"assets\"]", "").await;
    let get = async |target: &str| http::get(gateway.address(), target, &[]).await;
    let page = get("/").await;
    let html = "text/html; charset=utf-8";
    assert_eq!(shown(&page), (200, "<title>page</title>", html));
    assert_eq!(page.header("cache-control"), Some("no-cache"));
    assert_eq!(page.header("x-content-type-options"), Some("nosniff"));
    let style = get("/assets/a-1.css?v=1").await;
    assert_eq!(shown(&style), (200, "style", "text/css; charset=utf-8"));
    let kept = "public, max-age=31536000, immutable";
    assert_eq!(style.header("cache-control"), Some(kept));
    let linked = get("/inside.js").await;
    assert_eq!(linked.text(), "script", "a link that stays inside");
    let known = get("/.well-known/security.txt").await;
    assert_eq!(known.text(), "contact");

    let docs = get("/docs?a=1").await;
    assert_eq!(docs.status, 308);
    assert_eq!(docs.header("location"), Some("./docs/?a=1"));
    assert_eq!(get("/docs/").await.text(), "docs");

    let mut client = Client::connect(gateway.address(), "/ws").await;
    client.send("hello").await;
    assert_eq!(client.receive_text().await, "hello");
    client.close().await;

    let records = gateway.wait_for_requests(6).await;
    assert_eq!(records[0]["route"], "page");
    assert_eq!(records[0]["upstream"], "static");
    assert_eq!(
        (&records[0]["status"], &records[0]["bytes_out"]),
        (&json!(200), &json!(19))
    );
    let labels = ["route=\"page\"", "upstream=\"static\""];
    let counted = gateway.metric("sessile_http_requests_total", &labels);
    assert_eq!(counted, 6.0);
}

#[tokio::test]
async fn i12_nothing_outside_and_nothing_hidden_is_served() {
    let backend = Backend::echo().await;
    let site = site();
    let gateway = gateway(&backend, site.path(), "", "").await;
    for target in [
        "/out",
        "/.env",
        "/docs/.env",
        "/app.js/",
        "/absent",
        "/app.js/x",
        "/assets",
    ] {
        let answer = http::get(gateway.address(), target, &[]).await;
        assert_eq!(answer.status, 404, "{target}");
        assert!(
            answer.text().contains("there is no such file"),
            "{}",
            answer.text()
        );
    }
    for target in [
        "/../secret.txt",
        "/%2e%2e/secret.txt",
        "/docs/..%2f..%2fsecret.txt",
    ] {
        let mut raw = Raw::connect(gateway.address()).await;
        raw.write(format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n"))
            .await;
        assert_eq!(raw.status().await, Some(400), "{target}");
    }
    let request = Request::post("/app.js").header("host", "x");
    let request = request.body(Full::from(Bytes::from_static(b"x"))).unwrap();
    let answer = http::send(gateway.address(), request).await;
    assert_eq!(
        (answer.status, answer.header("allow")),
        (405, Some("GET, HEAD"))
    );
    let records = gateway.wait_for_requests(11).await;
    assert_eq!(records[0]["refusal"], "no_file");
    assert_eq!(records[10]["refusal"], "not_get");
}

#[tokio::test]
async fn a_client_gets_what_it_lacks_in_the_coding_that_it_likes() {
    let backend = Backend::echo().await;
    let site = site();
    let gateway = gateway(&backend, site.path(), "", "").await;
    let get = async |target: &str, fields: &[(&str, &str)]| {
        http::get(gateway.address(), target, fields).await
    };
    for (accepted, text, coding) in [
        ("gzip, br", "brotli", Some("br")),
        ("gzip", "gzip", Some("gzip")),
        ("br;q=0, zstd", "script", None),
    ] {
        let answer = get("/app.js", &[("accept-encoding", accepted)]).await;
        assert_eq!(answer.text(), text);
        assert_eq!(answer.header("content-encoding"), coding);
        assert_eq!(answer.header("vary"), Some("accept-encoding"));
        assert!(shown(&answer).2.starts_with("text/javascript"));
    }
    let whole = get("/digits", &[]).await;
    let (tag, date) = (
        whole.header("etag").unwrap(),
        whole.header("last-modified").unwrap(),
    );
    for condition in [("if-none-match", tag), ("if-modified-since", date)] {
        let answer = get("/digits", &[condition]).await;
        assert_eq!((answer.status, answer.text()), (304, ""), "{condition:?}");
        assert_eq!(answer.header("etag"), Some(tag));
    }
    let failed = get("/digits", &[("if-match", "\"other\"")]).await;
    assert_eq!(failed.status, 412);

    let range = |range| ("range", range);
    let part = get("/digits", &[range("bytes=2-4")]).await;
    assert_eq!((part.status, part.text()), (206, "234"));
    assert_eq!(part.header("content-range"), Some("bytes 2-4/10"));
    let part = get("/digits", &[range("bytes=-3"), ("if-range", tag)]).await;
    assert_eq!((part.status, part.text()), (206, "789"));
    let changed = get("/digits", &[range("bytes=-3"), ("if-range", "\"old\"")]).await;
    assert_eq!((changed.status, changed.text()), (200, "0123456789"));
    let behind = get("/digits", &[range("bytes=10-")]).await;
    assert_eq!(behind.status, 416);
    assert_eq!(behind.header("content-range"), Some("bytes */10"));

    let request = Request::head("/digits").header("host", "x");
    let request = request.body(Full::<Bytes>::default()).unwrap();
    let head = http::send(gateway.address(), request).await;
    assert_eq!((head.status, head.text()), (200, ""));
    assert_eq!(head.header("content-length"), Some("10"));
    assert_eq!(head.header("etag"), Some(tag));
}

#[tokio::test]
async fn a_large_file_comes_whole_and_a_changed_one_is_another() {
    let backend = Backend::echo().await;
    let site = site();
    let gateway = gateway(&backend, site.path(), "", "").await;
    let path = site.path().join("site/large");
    let content = fs::read(&path).unwrap();
    let before = http::get(gateway.address(), "/large", &[]).await;
    assert!(*before.body == *content, "{} bytes", before.body.len());
    let part = http::get(
        gateway.address(),
        "/large",
        &[("range", "bytes=65530-200000")],
    )
    .await;
    assert!(
        *part.body == content[65530..=200_000],
        "{} bytes",
        part.body.len()
    );
    let tag = before.header("etag").unwrap().to_owned();
    fs::write(&path, b"small").unwrap();
    let after = http::get(gateway.address(), "/large", &[("if-none-match", &tag)]).await;
    assert_eq!((after.status, after.text()), (200, "small"));
}

#[tokio::test]
async fn only_navigations_get_the_page_that_routes_by_itself() {
    let backend = Backend::echo().await;
    let site = site();
    let gateway = gateway(&backend, site.path(), ", fallback = \"index.html\"", "").await;
    let page = [("accept", "text/html,*/*")];
    let answer = http::get(gateway.address(), "/users/7", &page).await;
    assert_eq!(shown(&answer).1, "<title>page</title>");
    let script = [("accept", "text/html,*/*"), ("sec-fetch-mode", "no-cors")];
    for fields in [&script[..], &[("accept", "*/*")]] {
        let answer = http::get(gateway.address(), "/users/7", fields).await;
        assert_eq!(answer.status, 404);
    }
}

#[tokio::test]
async fn i7_files_are_for_those_who_may_see_them() {
    let backend = Backend::echo().await;
    let site = site();
    let route = "authenticate = [\"programs\"]\n\
        [authenticators.programs]\ntype = \"api_key\"\nfrom = [\"header:x-api-key\"]\n\
        [[authenticators.programs.keys]]\nsubject = \"bot\"\n\
        sha256 = \"3f41f315b64b34a69ab164cf2c9b3fdf087a8c53ed06b8a94feb11739bbbdf20\"";
    let gateway = gateway(&backend, site.path(), "", route).await;
    let answer = http::get(gateway.address(), "/digits", &[]).await;
    assert_eq!(answer.status, 401);
    let key = [("x-api-key", "key-of-a-bot")];
    let answer = http::get(gateway.address(), "/digits", &key).await;
    assert_eq!(answer.text(), "0123456789");
    let kept = answer.header("cache-control");
    assert_eq!(kept, Some("private, no-cache"), "no shared cache keeps it");
    let records = gateway.wait_for_requests(2).await;
    assert_eq!(records[1]["principal"], "bot");
}

#[tokio::test]
async fn a_websocket_for_a_file_gets_the_file() {
    let backend = Backend::echo().await;
    let site = site();
    let gateway = gateway(&backend, site.path(), "", "").await;
    let mut raw = Raw::connect(gateway.address()).await;
    raw.write(UPGRADE.replace("GET /", "GET /digits")).await;
    let head = raw.read_head().await;
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    assert_eq!(raw.read(10).await, b"0123456789");
}

#[tokio::test]
async fn i12_a_document_of_etcd_opens_no_directory() {
    let site = site();
    let etcd = Etcd::start().await;
    let files = format!("document_files = [{:?}]", site.path());
    let gateway = Gateway::start(&following(&[etcd.url()], &files)).await;
    let served = json!({ "path": "/stolen/{*rest}", "static": { "dir": site.path() } });
    etcd.put("routes/stolen", &served).await;
    let fault = "only the configuration file may name a directory to serve";
    eventually("it is refused", async || {
        gateway.get("/v1/config").to_string().contains(fault)
    })
    .await;
    let answer = http::get(gateway.address(), "/stolen/secret.txt", &[]).await;
    assert_eq!(answer.status, 404);
}
