//! Things that are derived from a credential or belong to one client: tickets, logins of
//! connections, places in a queue. They end with their origin, and permit no more than it does.

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::task::JoinSet;

use crate::support::backend::read_head;
use crate::support::tokens::{SECRET, in_seconds, token};
use crate::support::{Backend, Client, Dial, Gateway, config, eventually, http as client};

/// Tickets that are minted for who has a token.
fn minting(backend: &Backend) -> String {
    format!(
        "[authenticators.users]\ntype = \"jwt\"\nsecret = \"{SECRET}\"\n\n\
         [authenticators.tickets]\ntype = \"signed_url\"\nsecret = \"{SECRET}\"\n\
         mint = \"/ticket\"\nmint_for = [\"users\"]\nttl = \"5m\"\n\n"
    ) + &config::echo(&[backend.address], "", "authenticate = [\"tickets\"]\n")
}

async fn mint(gateway: &Gateway, token: &str) -> String {
    let request = Request::post("/ticket")
        .header("host", "localhost")
        .header("authorization", format!("Bearer {token}"))
        .body(Full::<Bytes>::default());
    let answer = client::send(gateway.address(), request.unwrap()).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let answer: Value = serde_json::from_slice(&answer.body).unwrap();
    answer["ticket"].as_str().unwrap().to_owned()
}

async fn open(gateway: &Gateway, ticket: &str) -> Result<Client, u16> {
    let dial = Dial::new(&format!("/?ticket={ticket}"));
    let opened = dial.connect(gateway.address()).await;
    opened.map_err(|refused| refused.status)
}

fn revoke(gateway: &Gateway, what: &Value) {
    let made = gateway.admin("POST", "/v1/revocations", &what.to_string());
    assert_eq!(made.status, 201, "{}", made.body);
}

#[tokio::test]
async fn what_takes_a_token_away_takes_its_tickets_and_their_sessions_away() {
    let backend = Backend::echo().await;
    let gateway = Gateway::start(&minting(&backend)).await;
    let of = |subject: &str| {
        token(&json!({
            "sub": subject, "jti": format!("of-{subject}"), "iat": in_seconds(-600), "exp": in_seconds(600),
        }))
    };
    let (ann, bob, cid) = (of("ann"), of("bob"), of("cid"));
    let (mut live, unused) = (
        open(&gateway, &mint(&gateway, &ann).await).await.unwrap(),
        mint(&gateway, &ann).await,
    );
    let mut old = open(&gateway, &mint(&gateway, &bob).await).await.unwrap();
    let old_unused = mint(&gateway, &bob).await;
    revoke(&gateway, &json!({ "token_id": "of-ann" }));
    assert_eq!(live.end().await.map(|(code, _)| code), Some(3000));
    assert_eq!(open(&gateway, &unused).await.err(), Some(401));
    let before = humantime::format_rfc3339(
        std::time::SystemTime::now() - std::time::Duration::from_secs(60),
    );
    revoke(
        &gateway,
        &json!({ "subject": "bob", "issued_before": before.to_string() }),
    );
    assert_eq!(old.end().await.map(|(code, _)| code), Some(3000));
    assert_eq!(open(&gateway, &old_unused).await.err(), Some(401));
    // Others have nothing to do with it.
    let ticket = mint(&gateway, &cid).await;
    open(&gateway, &ticket).await.unwrap().close().await;
    assert_eq!(
        open(&gateway, &ticket).await.err(),
        Some(401),
        "it is good once"
    );
}

#[tokio::test]
async fn a_used_ticket_stays_used_through_a_hand_over() {
    let backend = Backend::echo().await;
    let mut gateway = Gateway::start_with_handover(&minting(&backend)).await;
    let ann = token(&json!({ "sub": "ann", "exp": in_seconds(600) }));
    let (used, unused) = (mint(&gateway, &ann).await, mint(&gateway, &ann).await);
    open(&gateway, &used).await.unwrap().close().await;
    let next = gateway.succeed().await;
    assert_eq!(open(&next, &used).await.err(), Some(401));
    open(&next, &unused).await.unwrap().close().await;
    gateway.wait_for_exit().await;
}

#[tokio::test]
async fn a_used_ticket_stays_used_through_a_restart() {
    let backend = Backend::echo().await;
    let mut gateway = Gateway::start_with_handover(&minting(&backend)).await;
    let ann = token(&json!({ "sub": "ann", "exp": in_seconds(600) }));
    let used = mint(&gateway, &ann).await;
    open(&gateway, &used).await.unwrap().close().await;
    gateway.signal(Signal::TERM);
    gateway.wait_for_exit().await;
    let next = gateway.start_successor().await;
    assert_eq!(open(&next, &used).await.err(), Some(401));
    let unused = mint(&next, &ann).await;
    open(&next, &unused).await.unwrap().close().await;
}

/// Authenticates connections as servers with NTLM do: a user who logged in on one is it from then
/// on.
async fn ntlm() -> Backend {
    Backend::scripted(|mut stream| async move {
        let mut user = None;
        loop {
            let head = read_head(&mut stream).await;
            if head.is_empty() {
                return;
            }
            let mut lines = head.lines();
            user = lines
                .find_map(|line| line.strip_prefix("authorization: NTLM "))
                .map(str::to_owned)
                .or(user);
            let answer = match &user {
                Some(user) => format!(
                    "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{user}",
                    user.len()
                ),
                None => "HTTP/1.1 401 No\r\nwww-authenticate: NTLM\r\ncontent-length: 0\r\n\r\n"
                    .to_owned(),
            };
            stream.write_all(answer.as_bytes()).await.ok();
        }
    })
    .await
}

#[tokio::test]
async fn a_login_of_a_connection_is_its_clients_alone() {
    let backend = ntlm().await;
    let text = "# node: workers = 1\n".to_owned() + &config::echo(&[backend.address], "", "");
    let gateway = Gateway::start(&text.replace("# node: workers = 1\n", "")).await;
    let ask = async |connection: &mut _, login: Option<&str>| {
        let connection: &mut hyper::client::conn::http1::SendRequest<Full<Bytes>> = connection;
        connection.ready().await.unwrap();
        let mut request = Request::get("/").header("host", "localhost");
        if let Some(login) = login {
            request = request.header("authorization", format!("NTLM {login}"));
        }
        let request = request.body(Full::default()).unwrap();
        let answer = client::read(connection.send_request(request).await.unwrap()).await;
        (answer.status, answer.text().to_owned())
    };
    let mut ann = client::connect::<Full<Bytes>>(gateway.address()).await;
    assert_eq!(ask(&mut ann, None).await.0, 401);
    assert_eq!(ask(&mut ann, Some("ann")).await, (200, "ann".to_owned()));
    let connections = backend.accepted();
    for _ in 0..8 {
        // On as many workers as there are.
        let mut bob = client::connect::<Full<Bytes>>(gateway.address()).await;
        assert_eq!(ask(&mut bob, None).await.0, 401);
    }
    assert_eq!(ask(&mut ann, None).await, (200, "ann".to_owned()));
    assert!(
        backend.accepted() > connections,
        "others have connections of their own"
    );
}

#[tokio::test]
async fn guessing_passwords_does_not_block_other_clients() {
    /// `correct horse` by `bcrypt` with a cost of 9.
    const NINE: &str = "$2b$09$KFPtRNdE9nYKO39Jkg4MPea07YRiT3VinfEaVlI9rVmfjcvms.dMm";
    let backend = Backend::echo().await;
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("users"), format!("ann:{NINE}\n")).unwrap();
    let text = "[[listeners]]\nname = \"edge\"\nlisten = [\"127.0.0.1:0\"]\n\
                trusted_proxies = [\"127.0.0.0/8\"]\n\n\
                [authenticators.users]\ntype = \"basic\"\nhtpasswd = \"users\"\n\n"
        .to_owned()
        + &config::echo(&[backend.address], "", "authenticate = [\"users\"]\n");
    let gateway = Gateway::start_in(directory, &text).await;
    let address = gateway.address();
    let sign_in = move |from: &'static str, password: String| async move {
        let pair = BASE64_STANDARD.encode(format!("ann:{password}"));
        let headers = [
            ("x-forwarded-for", from),
            ("authorization", &format!("Basic {pair}")),
        ];
        client::get(address, "/", &headers).await.status
    };
    let mut guesses = JoinSet::new();
    for guess in 0..90 {
        guesses.spawn(async move {
            let mut statuses = Vec::new();
            for number in 0..4 {
                statuses.push(sign_in("192.0.2.66", format!("{guess} {number}")).await);
            }
            statuses
        });
    }
    let counted = || {
        gateway.metric(
            "sessile_refusals_total",
            &["reason=\"passwords_per_address\""],
        )
    };
    eventually("the guesser has its share", async || counted() > 0.0).await;
    assert_eq!(
        sign_in("203.0.113.9", "correct horse".to_owned()).await,
        200
    );
    let statuses: Vec<_> = guesses.join_all().await.concat();
    assert!(
        statuses.iter().all(|status| [401, 429].contains(status)),
        "{statuses:?}"
    );
    assert!(statuses.contains(&429));
}

#[tokio::test]
async fn strangers_take_no_places_of_the_ramp() {
    let backend = Backend::echo().await;
    let ramp = "[admission]\nramp = \"60s\"\nfrom = \"1/s\"\nto = \"1/s\"\n\n";
    let text = format!(
        "{ramp}[authenticators.users]\ntype = \"jwt\"\nsecret = \"{SECRET}\"\n\n{}",
        config::echo(&[backend.address], "", "authenticate = [\"users\"]\n")
    );
    let gateway = Gateway::start(&text).await;
    for _ in 0..50 {
        let refused = Dial::new("/")
            .connect(gateway.address())
            .await
            .err()
            .unwrap();
        assert_eq!(refused.status, 401);
    }
    let ann = token(&json!({ "sub": "ann", "exp": in_seconds(60) }));
    let dial = Dial::new("/").header("authorization", &format!("Bearer {ann}"));
    dial.connect(gateway.address()).await.unwrap().close().await;
    assert_eq!(
        gateway.metric("sessile_refusals_total", &["reason=\"admission_ramp\""]),
        0.0
    );
}

#[tokio::test]
async fn fragments_count_as_messages() {
    let backend = Backend::echo().await;
    let route = "limits = { messages_per_second = 10 }";
    let gateway = Gateway::start(&config::echo(&[backend.address], "", route)).await;
    let mut raw = crate::support::Raw::upgrade(gateway.address()).await;
    // A text message that never ends.
    raw.write(crate::support::raw::masked(0x01, b"a")).await;
    for _ in 0..500 {
        raw.write(crate::support::raw::masked(0x00, b"a")).await;
    }
    let record = gateway.wait_for_records(1).await.remove(0);
    assert_eq!(record.cause, "rate_limited");
}

#[tokio::test]
async fn i11_no_secret_of_a_header_or_a_url_is_shown() {
    let backend = Backend::echo().await;
    let text = "[authenticators.decider]\ntype = \"forward\"\n\
                url = \"http://127.0.0.1:9/check?key=hunter2-url\"\n\n"
        .to_owned()
        + &config::echo(
            &[backend.address],
            "",
            "request_headers = { add = { cookie = \"sid=hunter2-cookie\" }, set = { x-inner = \"hunter2-set\" } }\n",
        );
    let gateway = Gateway::start(&text).await;
    for target in ["/v1/config", "/v1/routes", "/v1/status", "/v1/upstreams"] {
        let shown = gateway.admin("GET", target, "");
        assert!(!shown.body.contains("hunter2"), "{target}: {}", shown.body);
    }
    assert!(!gateway.log().contains("hunter2"));
    client::get(gateway.address(), "/", &[]).await;
    assert_eq!(backend.last_seen().header("x-inner"), Some("hunter2-set"));
}

/// The tag of a ticket that an application makes by itself.
fn tag(payload: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
    BASE64_URL_SAFE_NO_PAD.encode(hmac::sign(&key, payload.as_bytes()))
}

#[tokio::test]
async fn one_users_tickets_leave_room_for_others() {
    let backend = Backend::echo().await;
    let text = format!(
        "[authenticators.tickets]\ntype = \"signed_url\"\nsecret = \"{SECRET}\"\nused_max = 100\n\n"
    ) + &config::echo(&[backend.address], "", "authenticate = [\"tickets\"]\n");
    let gateway = Gateway::start(&text).await;
    let of = |subject: &str, number: usize| {
        let id = format!("{subject}-{number}");
        let payload = json!({ "sub": subject, "exp": in_seconds(600), "jti": id }).to_string();
        let payload = BASE64_URL_SAFE_NO_PAD.encode(payload);
        format!("{payload}.{}", tag(&payload))
    };
    let mut opened = 0;
    for number in 0..120 {
        if let Ok(client) = open(&gateway, &of("ann", number)).await {
            client.close().await;
            opened += 1;
        }
    }
    assert!((1..100).contains(&opened), "{opened}");
    open(&gateway, &of("bob", 0)).await.unwrap().close().await;
}
