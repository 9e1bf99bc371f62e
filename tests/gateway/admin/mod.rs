//! What operators see and do.
mod described;
mod events;
mod hostile;
mod preview;
mod tls;

use crate::support::{Backend, Client, Dial, Gateway, config, eventually, http};

async fn gateway(backend: &Backend) -> Gateway {
    Gateway::start(&config::echo(&[backend.address], "", "")).await
}

#[tokio::test]
async fn status_describes_the_process() {
    let backend = Backend::echo().await;
    let gateway = gateway(&backend).await;
    let status = gateway.get("/v1/status");
    assert_eq!(status["node"], "under-test");
    assert_eq!(status["version"], env!("CARGO_PKG_VERSION"));
    assert!(status["uptime_seconds"].as_f64().is_some());
    assert!(status["generation"].as_u64().is_some());
    assert!(
        status["digest"]
            .as_str()
            .is_some_and(|digest| digest.len() >= 8)
    );
    assert_eq!(status["listeners"][0]["name"], "edge");
    assert_eq!(status["listeners"][0]["tls"], false);
    assert_eq!(status["workers"].as_array().map(Vec::len), Some(2));
    assert_eq!(gateway.admin("GET", "/livez", "").status, 200);
    assert_eq!(gateway.admin("GET", "/readyz", "").status, 200);
}

#[tokio::test]
async fn a_session_is_listed_shown_and_closed() {
    let backend = Backend::echo().await;
    let gateway = gateway(&backend).await;
    let mut client = Client::connect(gateway.address(), "/?k=1").await;
    let mut other = Client::connect(gateway.address(), "/?k=2").await;
    let id = client.session_id().await;
    let listed = gateway.sessions();
    assert_eq!(listed.len(), 2);
    let session = listed
        .iter()
        .find(|session| session["id"] == id)
        .expect("it is listed");
    assert_eq!(session["route"], "all");
    assert_eq!(session["upstream"], "echo");
    assert_eq!(session["backend"], backend.address.to_string());
    assert!(session["client"].as_str().unwrap().starts_with("127.0.0.1"));
    assert!(session["started"].as_str().unwrap().starts_with("20"));
    assert_eq!(gateway.get(&format!("/v1/sessions/{id}"))["id"], id);

    let kick = format!("/v1/sessions/{id}?reason=abuse%20report%2017");
    let closed = gateway.admin("DELETE", &kick, "");
    assert!((200..300).contains(&closed.status), "{closed:?}");
    let (code, reason) = client.end().await.expect("a close frame");
    assert!(
        (1000..5000).contains(&code) && !reason.is_empty(),
        "{code} {reason}"
    );
    let record = gateway.wait_for_records(1).await.remove(0);
    assert_eq!(
        (record.id, record.ended_by.as_str()),
        (id.clone(), "gateway")
    );
    // The operator and the reason.
    assert_eq!(record.cause, "kicked");
    assert_eq!(record.reason.as_deref(), Some("abuse report 17"));
    assert_eq!(record.operator.as_deref(), Some("local"));
    assert_eq!(record.revocation, None);
    eventually("it is gone", async || {
        gateway
            .admin("GET", &format!("/v1/sessions/{id}"), "")
            .status
            == 404
    })
    .await;
    assert_eq!(
        gateway
            .admin("DELETE", &format!("/v1/sessions/{id}"), "")
            .status,
        404
    );
    other.echo("the other lives").await;
}

#[tokio::test]
async fn an_operator_chooses_code_and_reason() {
    let backend = Backend::echo().await;
    let gateway = gateway(&backend).await;
    let mut client = Client::connect(gateway.address(), "/").await;
    let id = client.session_id().await;
    let how = "code=4009&reason=moved%20to%20another%20room";
    let closed = gateway.admin("DELETE", &format!("/v1/sessions/{id}?{how}"), "");
    assert!((200..300).contains(&closed.status), "{closed:?}");
    assert_eq!(
        client.end().await,
        Some((4009, "moved to another room".to_owned()))
    );
}

#[tokio::test]
async fn sessions_are_filtered_and_paged() {
    let backend = Backend::echo().await;
    let more = "\n[[routes]]\nname = \"more\"\npath = \"/more\"\nupstream = \"echo\"\n";
    let text = format!("{}{more}", config::echo(&[backend.address], "", ""));
    let gateway = Gateway::start(&text).await;
    let mut clients = Vec::new();
    for number in 0..25 {
        let target = if number % 5 == 0 { "/more" } else { "/" };
        clients.push(Client::connect(gateway.address(), target).await);
    }
    let of_route = gateway.get("/v1/sessions?route=more&limit=1000");
    assert_eq!(of_route["items"].as_array().map(Vec::len), Some(5));
    assert_eq!(
        gateway.get("/v1/sessions?upstream=none")["items"]
            .as_array()
            .map(Vec::len),
        Some(0)
    );
    let mut ids = std::collections::BTreeSet::new();
    let mut target = String::from("/v1/sessions?limit=10");
    let mut pages = 0;
    loop {
        let page = gateway.get(&target);
        let items = page["items"].as_array().unwrap();
        assert!(items.len() <= 10);
        ids.extend(
            items
                .iter()
                .map(|item| item["id"].as_str().unwrap().to_owned()),
        );
        pages += 1;
        match page["next"].as_str() {
            Some(next) => target = format!("/v1/sessions?limit=10&cursor={next}"),
            None => break,
        }
        assert!(pages < 10, "the pages have no end");
    }
    assert_eq!(ids.len(), 25);
}

#[tokio::test]
async fn routes_and_upstreams_are_shown() {
    let backend = Backend::echo().await;
    let gateway = gateway(&backend).await;
    let _client = Client::connect(gateway.address(), "/").await;
    let routes = gateway.get("/v1/routes");
    assert_eq!(routes["items"][0]["name"], "all");
    let upstreams = gateway.get("/v1/upstreams");
    assert_eq!(upstreams["items"][0]["name"], "echo");
    let shown = gateway.backend("echo", backend.address);
    assert_eq!(
        (&shown["weight"], &shown["state"]),
        (&1.into(), &"active".into())
    );
    assert_eq!(shown["sessions"], 1);
    assert_eq!(gateway.admin("GET", "/v1/upstreams/none", "").status, 404);
}

#[tokio::test]
async fn resolve_predicts_the_backend_of_a_request() {
    let backends = [
        Backend::echo().await,
        Backend::echo().await,
        Backend::echo().await,
    ];
    let members = backends.each_ref().map(|backend| backend.address);
    let gateway = Gateway::start(&config::echo(&members, "", "")).await;
    for key in 0..10 {
        let body = format!(r#"{{"url": "ws://localhost/?k={key}"}}"#);
        let answer = gateway.admin("POST", "/v1/resolve", &body);
        assert_eq!(answer.status, 200, "{}", answer.body);
        let home = http::get(gateway.address(), &format!("/?k={key}"), &[]).await;
        assert!(
            answer.body.contains("\"all\""),
            "no route in {}",
            answer.body
        );
        let resolved = answer.json();
        assert_eq!(resolved["choice"]["backend"], home.text(), "{resolved}");
    }
}

#[tokio::test]
async fn errors_are_problems_in_json() {
    let backend = Backend::echo().await;
    let gateway = gateway(&backend).await;
    let cases = [
        ("GET", "/v1/nothing", 404),
        ("GET", "/v1/sessions/00000000000000000000000000", 404),
        ("GET", "/v1/sessions/nothing", 400),
        ("GET", "/v1/sessions?limit=many", 400),
        ("PUT", "/v1/status", 405),
        ("POST", "/v1/resolve", 400),
    ];
    for (method, target, status) in cases {
        let answer = gateway.admin(method, target, "");
        assert_eq!(answer.status, status, "{method} {target}: {}", answer.body);
        assert!(
            answer
                .head
                .to_ascii_lowercase()
                .contains("application/problem+json"),
            "{target}"
        );
        assert_eq!(answer.json()["status"], status);
    }
}

#[tokio::test]
async fn i11_secrets_and_tokens_are_shown_nowhere() {
    let backend = Backend::echo().await;
    let text = config::echo(&[backend.address], "", "");
    // The harness has its own [admin], to which the token is added.
    let token = "token-that-nobody-may-see";
    let text = format!("{text}\n[[routes]]\nname = \"x\"\npath = \"/x\"\nupstream = \"echo\"\n");
    let gateway = Gateway::start_with_admin_token(&text, token).await;
    let dial = Dial::new("/?access_token=query-secret&k=1")
        .header("authorization", "Bearer header-secret")
        .header("cookie", "session=cookie-secret");
    let mut client = dial.connect(gateway.address()).await.unwrap();
    assert_eq!(
        backend.last_seen().target,
        "/?access_token=query-secret&k=1",
        "what is forwarded is the route's business"
    );
    let mut shown = gateway.get("/v1/config").to_string();
    for target in [
        "/v1/status",
        "/v1/sessions",
        "/v1/routes",
        "/v1/upstreams",
        "/metrics",
    ] {
        shown += &gateway.admin("GET", target, "").body;
    }
    client.echo("x").await;
    client.close().await;
    gateway.wait_for_records(1).await;
    gateway.write_config("[[routes]\nbroken");
    shown += &gateway.reload().body;
    shown += &gateway.log();
    shown += &std::fs::read_to_string(gateway.directory().join("access.log")).unwrap();
    for secret in [token, "query-secret", "header-secret", "cookie-secret"] {
        assert!(!shown.contains(secret), "{secret} in {shown}");
    }
}

#[tokio::test]
async fn an_admin_token_is_asked_for() {
    let backend = Backend::echo().await;
    let text = config::echo(&[backend.address], "", "");
    let gateway = Gateway::start_with_admin_token(&text, "right").await;
    for (token, status) in [(None, 401), (Some("wrong"), 401), (Some("right"), 200)] {
        let answer = gateway.admin_as(token, "GET", "/v1/status", "");
        assert_eq!(answer.status, status, "{token:?}");
    }
    // Probes of an orchestrator have no token.
    assert_eq!(gateway.admin_as(None, "GET", "/livez", "").status, 200);
    assert_eq!(gateway.admin_as(None, "GET", "/readyz", "").status, 200);
}

#[tokio::test]
async fn metrics_count_what_happened() {
    let backend = Backend::echo().await;
    let gateway = gateway(&backend).await;
    let mut client = Client::connect(gateway.address(), "/").await;
    for _ in 0..10 {
        client.echo("0123456789").await;
    }
    let text = gateway.admin("GET", "/metrics", "").body;
    for line in text
        .lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty())
    {
        let named = ["sessile_", "process_"]
            .iter()
            .any(|prefix| line.starts_with(prefix));
        assert!(named, "{line}");
        assert!(!line.contains("127.0.0.1:0"), "{line}");
    }
    assert!(
        (gateway.metric("sessile_sessions", &[]) - 1.0).abs() < f64::EPSILON,
        "{text}"
    );
    client.close().await;
    eventually("the end is counted", async || {
        gateway.metric("sessile_sessions", &[]).abs() < f64::EPSILON
    })
    .await;
    let text = gateway.admin("GET", "/metrics", "").body;
    assert!(text.contains("1000"), "no close code in {text}");
}

#[tokio::test]
async fn a_token_that_may_look_changes_nothing() {
    let backend = Backend::echo().await;
    let text = config::echo(&[backend.address], "", "");
    let looking = "# admin: read_token = \"may-look-and-no-more\"\n";
    let gateway =
        Gateway::start_with_admin_token(&(looking.to_owned() + &text), "may-do-all").await;
    let looks = Some("may-look-and-no-more");
    for (token, method, target, body, status) in [
        (looks, "GET", "/v1/sessions", "", 200),
        (looks, "POST", "/v1/resolve", "{\"path\":\"/\"}", 200),
        (looks, "POST", "/v1/reload", "", 403),
        (looks, "PUT", "/v1/log", "{\"level\":\"off\"}", 403),
        (None, "GET", "/v1/sessions", "", 401),
    ] {
        let answer = gateway.admin_as(token, method, target, body);
        assert_eq!(answer.status, status, "{method} {target}");
    }
    assert_eq!(gateway.admin("POST", "/v1/reload", "").status, 200);
}

#[tokio::test]
async fn i12_no_text_of_a_client_steers_the_terminal_of_an_operator() {
    let backend = Backend::echo().await;
    let gateway = gateway(&backend).await;
    let asked = serde_json::json!({ "path": "/", "host": "a\u{9b}31m\u{202e}b" }).to_string();
    let answer = gateway.admin("POST", "/v1/resolve", &asked);
    assert_eq!(answer.status, 400, "{}", answer.body);
    assert!(answer.body.contains("\\u009b31m\\u202e"), "{}", answer.body);
    let problem = answer.json();
    let detail = problem["detail"].as_str().expect("a detail");
    assert!(detail.contains("a\u{9b}31m\u{202e}b"), "{detail}");
}
