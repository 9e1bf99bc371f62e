//! The response cache: what a real backend is asked, and what clients get.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http_body_util::Full;
use hyper::Request;
use tokio::io::AsyncWriteExt as _;
use tokio::sync::watch;

use crate::support::backend::read_head;
use crate::support::http::Whole;
use crate::support::{Backend, Gateway, config, eventually, http};

/// A backend whose answers the test writes, and the requests that it got.
struct Origin {
    backend: Backend,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    /// Status, fields and body of the next answers.
    answer: Mutex<(u16, String, String)>,
    heads: Mutex<Vec<String>>,
    /// Answers wait while this is true.
    held: watch::Sender<bool>,
}

impl Origin {
    async fn start() -> Self {
        let state = Arc::<State>::default();
        let shared = Arc::clone(&state);
        let backend = Backend::scripted(move |mut stream| {
            let state = Arc::clone(&shared);
            async move {
                loop {
                    let head = read_head(&mut stream).await;
                    if head.is_empty() {
                        return;
                    }
                    let is_head = head.starts_with("HEAD ");
                    state.heads.lock().unwrap().push(head);
                    let mut held = state.held.subscribe();
                    held.wait_for(|held| !held).await.unwrap();
                    let (status, fields, body) = state.answer.lock().unwrap().clone();
                    let body = if is_head || status == 304 {
                        String::new()
                    } else {
                        body
                    };
                    let length = match status {
                        304 => String::new(),
                        _ => format!("Content-Length: {}\r\n", body.len()),
                    };
                    let answer = format!("HTTP/1.1 {status} Any\r\n{length}{fields}\r\n{body}");
                    if stream.write_all(answer.as_bytes()).await.is_err() {
                        return;
                    }
                }
            }
        })
        .await;
        Self { backend, state }
    }

    fn answers(&self, status: u16, fields: &[&str], body: &str) {
        let fields: String = fields.iter().map(|field| format!("{field}\r\n")).collect();
        *self.state.answer.lock().unwrap() = (status, fields, body.to_owned());
    }

    fn asked(&self) -> usize {
        self.state.heads.lock().unwrap().len()
    }

    fn last(&self) -> String {
        let heads = self.state.heads.lock().unwrap();
        heads
            .last()
            .cloned()
            .unwrap_or_default()
            .to_ascii_lowercase()
    }

    async fn gateway(&self, keys: &str) -> Gateway {
        let route = format!("cache = {{}}\n{keys}");
        Gateway::start(&config::echo(&[self.backend.address], "", &route)).await
    }
}

fn status(answer: &Whole) -> &str {
    answer.header("cache-status").unwrap_or_default()
}

#[tokio::test]
async fn a_response_is_served_from_memory_while_it_is_fresh() {
    let origin = Origin::start().await;
    let gateway = origin.gateway("").await;
    let get = async |target: &str| http::get(gateway.address(), target, &[]).await;
    origin.answers(
        200,
        &["Cache-Control: max-age=60", "X-A: 1", "Age: 7"],
        "first",
    );
    let first = get("/a?b=1").await;
    assert_eq!(
        (first.text(), status(&first)),
        ("first", "sessile; fwd=uri-miss; stored")
    );
    origin.answers(200, &["Cache-Control: max-age=60"], "second");
    let again = get("/a?b=1").await;
    assert_eq!((again.text(), again.header("x-a")), ("first", Some("1")));
    assert!(
        status(&again).starts_with("sessile; hit; ttl=5"),
        "{}",
        status(&again)
    );
    let age: u64 = again.header("age").unwrap().parse().unwrap();
    assert!((7..15).contains(&age), "{age}");
    assert_eq!(get("/a?b=2").await.text(), "second", "another URI");
    assert_eq!(origin.asked(), 2);

    let request = Request::head("/a?b=1").header("host", "localhost");
    let head = http::send(
        gateway.address(),
        request.body(Full::<Bytes>::default()).unwrap(),
    )
    .await;
    assert_eq!(
        (head.status, head.text(), head.header("content-length")),
        (200, "", Some("5"))
    );
    let request = Request::get("/a?b=1").header("host", "other");
    let other = http::send(
        gateway.address(),
        request.body(Full::<Bytes>::default()).unwrap(),
    )
    .await;
    assert_eq!(other.text(), "second", "another host");
    assert_eq!(origin.asked(), 3);

    let counted = |result: &str| {
        let label = format!("result=\"{result}\"");
        gateway.metric("sessile_cache_requests_total", &["route=\"all\"", &label])
    };
    assert_eq!((counted("hit"), counted("miss")), (2.0, 3.0));
    assert_eq!(gateway.metric("sessile_cache_entries", &[]), 3.0);
    let records = gateway.wait_for_requests(5).await;
    let backends: Vec<_> = records
        .iter()
        .map(|record| record["backend"].is_null())
        .collect();
    assert_eq!(backends, [false, true, false, true, false]);
    assert_eq!(records[1]["bytes_out"], 5);
}

#[tokio::test]
async fn what_is_not_for_all_is_not_stored() {
    let origin = Origin::start().await;
    let gateway = origin.gateway("").await;
    for (number, (fields, sent)) in [
        (&["Cache-Control: private, max-age=60"][..], &[][..]),
        (&["Cache-Control: no-store, max-age=60"], &[]),
        (&["Cache-Control: max-age=60", "Set-Cookie: a=1"], &[]),
        (&["Cache-Control: max-age=60", "Vary: *"], &[]),
        (&["Cache-Control: max-age=60", "Vary: X-Forwarded-For"], &[]),
        (
            &["Cache-Control: max-age=60"],
            &[("authorization", "Basic x")],
        ),
        (
            &["Cache-Control: max-age=60"],
            &[("cache-control", "no-store")],
        ),
        (&["Cache-Control: max-age=60"], &[("range", "bytes=0-1")]),
        (&[], &[]),
    ]
    .into_iter()
    .enumerate()
    {
        origin.answers(200, fields, "one");
        let target = format!("/{number}");
        for turn in 1..=2 {
            let answer = http::get(gateway.address(), &target, sent).await;
            assert_eq!(answer.text(), "one");
            assert!(
                !status(&answer).contains("stored"),
                "{fields:?}: {}",
                status(&answer)
            );
            assert_eq!(origin.asked(), number * 2 + turn, "{fields:?}");
        }
    }
    assert_eq!(gateway.metric("sessile_cache_entries", &[]), 0.0);
}

#[tokio::test]
async fn i7_a_response_from_memory_is_only_for_those_who_may_ask() {
    let origin = Origin::start().await;
    let guarded = "authenticate = [\"programs\"]\n\
        [authenticators.programs]\ntype = \"api_key\"\nfrom = [\"header:x-api-key\"]\n\
        [[authenticators.programs.keys]]\nsubject = \"bot\"\n\
        sha256 = \"3f41f315b64b34a69ab164cf2c9b3fdf087a8c53ed06b8a94feb11739bbbdf20\"";
    let gateway = origin.gateway(guarded).await;
    let key = [("x-api-key", "key-of-a-bot")];
    origin.answers(200, &["Cache-Control: max-age=60"], "own");
    for asked in 1..=2 {
        assert_eq!(
            http::get(gateway.address(), "/own", &key).await.text(),
            "own"
        );
        assert_eq!(origin.asked(), asked, "it may be for this principal alone");
    }
    origin.answers(200, &["Cache-Control: public, max-age=60"], "all");
    for _ in 0..2 {
        assert_eq!(
            http::get(gateway.address(), "/all", &key).await.text(),
            "all"
        );
        assert_eq!(origin.asked(), 3);
    }
    assert_eq!(http::get(gateway.address(), "/all", &[]).await.status, 401);
}

/// What belongs to the backend's connection is not stored (RFC 9111, section 3.1).
#[tokio::test]
async fn fields_of_a_connection_are_not_stored() {
    let origin = Origin::start().await;
    let gateway = origin.gateway("").await;
    let hop = ["Connection: x-hop", "X-Hop: 1", "Keep-Alive: timeout=5"];
    let check = async |target: &str, expected: &str| {
        let answer = http::get(gateway.address(), target, &[]).await;
        assert!(status(&answer).contains(expected), "{}", status(&answer));
        for name in ["connection", "x-hop", "keep-alive"] {
            assert_eq!(answer.header(name), None, "{expected}");
        }
    };
    let mut fields = vec!["Cache-Control: max-age=60"];
    fields.extend(hop);
    origin.answers(200, &fields, "body");
    check("/fresh", "stored").await;
    check("/fresh", "hit").await;
    origin.answers(200, &["Cache-Control: max-age=0", "ETag: \"a\""], "body");
    check("/again", "stored").await;
    fields.push("ETag: \"a\"");
    origin.answers(304, &fields, "");
    check("/again", "fwd-status=304").await;
    check("/again", "hit").await;
}

#[tokio::test]
async fn variants_are_kept_apart() {
    let origin = Origin::start().await;
    let gateway = origin.gateway("").await;
    let get = async |language: &str| {
        http::get(gateway.address(), "/", &[("accept-language", language)]).await
    };
    for language in ["de", "en"] {
        origin.answers(
            200,
            &["Cache-Control: max-age=60", "Vary: Accept-Language"],
            language,
        );
        assert_eq!(get(language).await.text(), language);
    }
    for language in ["de", "en"] {
        let answer = get(language).await;
        assert_eq!(answer.text(), language);
        assert!(status(&answer).contains("hit"));
    }
    assert!(status(&get("fr").await).contains("fwd=vary-miss"));
    assert_eq!(origin.asked(), 3);
}

#[tokio::test]
async fn a_stale_response_is_asked_about_again() {
    let origin = Origin::start().await;
    let gateway = origin.gateway("").await;
    let get = async |fields: &[(&str, &str)]| http::get(gateway.address(), "/", fields).await;
    origin.answers(200, &["Cache-Control: no-cache", "ETag: \"a\""], "body");
    assert_eq!(get(&[]).await.text(), "body");
    origin.answers(
        304,
        &["Cache-Control: max-age=60", "ETag: \"a\"", "X-New: 1"],
        "",
    );
    // The client's own condition is another one.
    let answer = get(&[("if-none-match", "\"z\"")]).await;
    assert_eq!((answer.status, answer.text()), (200, "body"));
    assert_eq!(
        status(&answer),
        "sessile; fwd=stale; fwd-status=304; stored"
    );
    assert!(
        origin.last().contains("if-none-match: \"a\"\r\n"),
        "{}",
        origin.last()
    );
    assert_eq!(answer.header("x-new"), Some("1"));
    let answer = get(&[]).await;
    assert!(status(&answer).contains("hit"), "{}", status(&answer));
    let answer = get(&[("if-none-match", "\"a\"")]).await;
    assert_eq!(
        (answer.status, answer.text(), answer.header("etag")),
        (304, "", Some("\"a\""))
    );
    assert_eq!(origin.asked(), 2);

    origin.answers(200, &["Cache-Control: max-age=60", "ETag: \"b\""], "new");
    let answer = get(&[("cache-control", "no-cache")]).await;
    assert_eq!(
        (answer.text(), status(&answer)),
        ("new", "sessile; fwd=request; stored")
    );
    assert_eq!(get(&[]).await.text(), "new");
    let only = get(&[("cache-control", "only-if-cached, max-age=0, min-fresh=999")]).await;
    assert_eq!(only.status, 504);
    let record = gateway.record_of(only.text()).await;
    assert_eq!(record["refusal"], "not_cached");
}

#[tokio::test]
async fn a_stale_response_helps_out_while_the_backend_fails() {
    let origin = Origin::start().await;
    let gateway = origin.gateway("").await;
    let get = async || http::get(gateway.address(), "/", &[]).await;
    let fields = ["Cache-Control: max-age=0, stale-if-error=60", "ETag: \"a\""];
    origin.answers(200, &fields, "body");
    get().await;
    origin.answers(503, &[], "down");
    let answer = get().await;
    assert_eq!((answer.status, answer.text()), (200, "body"));
    assert!(
        status(&answer).contains("stale-if-error"),
        "{}",
        status(&answer)
    );
    origin.answers(404, &[], "gone");
    assert_eq!(get().await.text(), "gone", "an answer is an answer");
    origin.backend.stop().await;
    let answer = get().await;
    assert_eq!((answer.status, answer.text()), (200, "body"));
}

#[tokio::test]
async fn a_change_by_another_method_drops_what_is_stored() {
    let origin = Origin::start().await;
    let gateway = origin.gateway("").await;
    let get = async || http::get(gateway.address(), "/", &[]).await;
    let post = async || {
        let request = Request::post("/").header("host", "localhost");
        http::send(gateway.address(), request.body(Full::from("x")).unwrap()).await
    };
    origin.answers(200, &["Cache-Control: max-age=60"], "old");
    get().await;
    origin.answers(500, &[], "failed");
    assert_eq!(post().await.status, 500);
    assert_eq!(get().await.text(), "old");
    origin.answers(200, &["Cache-Control: max-age=60"], "new");
    assert!(status(&post().await).contains("fwd=method"));
    assert_eq!(get().await.text(), "new");
}

#[tokio::test]
async fn clients_that_come_at_once_ask_the_backend_once() {
    let origin = Origin::start().await;
    let gateway = origin.gateway("").await;
    origin.answers(200, &["Cache-Control: max-age=60"], "body");
    origin.state.held.send_replace(true);
    let address = gateway.address();
    let get = move || tokio::spawn(async move { http::get(address, "/", &[]).await });
    let mut clients = vec![get()];
    eventually("the backend is asked", async || origin.asked() == 1).await;
    clients.extend((0..20).map(|_| get()));
    eventually("they wait", async || {
        gateway.metric("sessile_cache_waiting", &[]) == 20.0
    })
    .await;
    origin.state.held.send_replace(false);
    let mut collapsed = 0;
    for client in clients {
        let answer = client.await.unwrap();
        assert_eq!(answer.text(), "body");
        collapsed += usize::from(status(&answer).contains("collapsed"));
    }
    assert_eq!((origin.asked(), collapsed), (1, 20));

    // A client that waits for what is not stored asks by itself, and the next ones do not wait.
    origin.answers(200, &["Cache-Control: private"], "own");
    origin.state.held.send_replace(true);
    let own = move || tokio::spawn(async move { http::get(address, "/own", &[]).await });
    let first = own();
    eventually("the backend is asked", async || origin.asked() == 2).await;
    let second = own();
    eventually("it waits", async || {
        gateway.metric("sessile_cache_waiting", &[]) == 1.0
    })
    .await;
    origin.state.held.send_replace(false);
    for client in [first, second, own()] {
        assert_eq!(client.await.unwrap().text(), "own");
    }
    assert_eq!(origin.asked(), 4);
}

#[tokio::test]
async fn i8_memory_is_bounded_and_can_be_emptied() {
    let origin = Origin::start().await;
    let text = config::echo(
        &[origin.backend.address],
        "",
        "cache = { object_bytes = \"10 KiB\" }",
    );
    let gateway = Gateway::start(&format!("# node: cache_memory = \"64 KiB\"\n{text}")).await;
    let get = async |target: &str| http::get(gateway.address(), target, &[]).await;
    origin.answers(200, &["Cache-Control: max-age=60"], &"x".repeat(11 << 10));
    assert!(!status(&get("/large").await).contains("stored"));
    origin.answers(200, &["Cache-Control: max-age=60"], &"x".repeat(9 << 10));
    for number in 0..20 {
        get(&format!("/{number}")).await;
        assert!(gateway.metric("sessile_cache_bytes", &[]) <= 65_536.0);
    }
    assert!(gateway.metric("sessile_cache_entries", &[]) >= 2.0);
    let kept = gateway.get("/v1/cache");
    assert_eq!(kept["bytes_max"], 65_536);

    let asked = origin.asked();
    assert!(status(&get("/19").await).contains("hit"));
    let purge = |query: &str| gateway.admin("DELETE", &format!("/v1/cache{query}"), "");
    let answer = purge("?url=http://localhost/19");
    assert_eq!(answer.status, 200, "{}", answer.body);
    get("/19").await;
    assert_eq!(origin.asked(), asked + 1);
    assert_eq!(purge("?url=/19").status, 400);
    assert_eq!(purge("").status, 200);
    assert_eq!(gateway.metric("sessile_cache_entries", &[]), 0.0);
}

#[tokio::test]
async fn sessions_and_routes_without_a_cache_are_left_alone() {
    let backend = Backend::echo().await;
    let gateway = Gateway::start(&config::echo(&[backend.address], "", "cache = {}")).await;
    let mut client = crate::support::Client::connect(gateway.address(), "/").await;
    client.send("hello").await;
    assert_eq!(client.receive_text().await, "hello");
    client.close().await;

    let origin = Origin::start().await;
    let gateway = Gateway::start(&config::echo(&[origin.backend.address], "", "")).await;
    origin.answers(200, &["Cache-Control: max-age=60"], "body");
    for asked in 1..=2 {
        let answer = http::get(gateway.address(), "/", &[]).await;
        assert_eq!(
            (answer.text(), answer.header("cache-status")),
            ("body", None)
        );
        assert_eq!(origin.asked(), asked);
    }
}
