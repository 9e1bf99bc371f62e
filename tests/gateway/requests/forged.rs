//! Headers and credentials that backends trust: clients cannot send them in another's name, in
//! another spelling, twice, or by another route.

use std::net::SocketAddr;

use serde_json::json;

use crate::support::backend::ReceivedRequest;
use crate::support::service::Service;
use crate::support::tokens::{SECRET, in_seconds, token};
use crate::support::{Backend, Dial, Gateway, config, http};

fn trusting() -> String {
    "[[listeners]]\nname = \"edge\"\nlisten = [\"127.0.0.1:0\"]\n\
     trusted_proxies = [\"127.0.0.0/8\"]\n\n"
        .to_owned()
}

fn users(more: &str) -> String {
    format!("[authenticators.users]\ntype = \"jwt\"\nsecret = \"{SECRET}\"\n{more}\n\n")
}

fn route(name: &str, lines: &str) -> String {
    format!("\n[[routes]]\nname = \"{name}\"\npath = \"/{name}\"\nupstream = \"echo\"\n{lines}\n")
}

fn ann() -> String {
    token(&json!({ "sub": "ann", "name": "Ann", "exp": in_seconds(60) }))
}

/// What the backend sees of a request with these headers, sent as HTTP and as an upgrade.
async fn seen(
    backend: &Backend,
    address: SocketAddr,
    target: &str,
    headers: &[(&str, &str)],
) -> [ReceivedRequest; 2] {
    let answer = http::get(address, target, headers).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let plain = backend.last_seen();
    let mut dial = Dial::new(target);
    for (name, value) in headers {
        dial = dial.header(name, value);
    }
    let client = dial.connect(address).await.unwrap();
    client.close().await;
    [plain, backend.last_seen()]
}

#[tokio::test]
async fn identity_headers_of_one_route_are_removed_from_clients_on_every_route() {
    let backend = Backend::echo().await;
    let service = Service::start(None, |_| {
        let says = "200 OK\r\nx-auth-subject: ann\r\nx-team: blue\r\nauthorization: inner";
        (says.to_owned(), String::new())
    })
    .await;
    let text = users("")
        + &format!(
            "[authenticators.decider]\ntype = \"forward\"\nurl = \"http://{}/\"\n\
             response_headers = [\"x-team\", \"authorization\"]\n\n",
            service.address
        )
        + &config::echo(&[backend.address], "", "path = \"/unused\"")
        + &route("open", "")
        + &route(
            "claims",
            "authenticate = [\"users\"]\nclaim_headers = { x-user-name = \"claim:name\" }",
        )
        + &route("asked", "authenticate = [\"decider\"]");
    let gateway = Gateway::start(&text).await;
    let forged = [
        ("x-user-name", "root"),
        ("x_user_name", "root"),
        ("X.User.Name", "root"),
        ("x-team", "red"),
        ("x_team", "red"),
        ("authorization", "mine"),
    ];
    for seen in seen(&backend, gateway.address(), "/open", &forged).await {
        for name in [
            "x-user-name",
            "x_user_name",
            "x.user.name",
            "x-team",
            "x_team",
        ] {
            assert_eq!(seen.header(name), None, "{name}");
        }
        // What clients send on routes of their own stays theirs.
        assert_eq!(seen.header("authorization"), Some("mine"));
    }
    let bearer = format!("Bearer {}", ann());
    let with = [("x_user_name", "root"), ("authorization", bearer.as_str())];
    for seen in seen(&backend, gateway.address(), "/claims", &with).await {
        assert_eq!(seen.header("x-user-name"), Some("Ann"));
        assert_eq!(seen.header("x_user_name"), None);
    }
    for seen in seen(&backend, gateway.address(), "/asked", &forged).await {
        assert_eq!(seen.header("x-team"), Some("blue"));
        assert_eq!(seen.header("authorization"), Some("inner"));
    }
}

#[tokio::test]
async fn another_spelling_of_a_header_is_the_same_header() {
    let backend = Backend::echo().await;
    let edits = "request_headers = { remove = [\"x-debug-user\"], set = { x-role = \"guest\" } }";
    let text = trusting()
        + &users("from = [\"header:x-key\"]")
        + &config::echo(&[backend.address], "", "path = \"/unused\"")
        + &route("edited", edits)
        + &route("guarded", "authenticate = [\"users\"]")
        + &route("plain", "headers = { x-internal = false }");
    let gateway = Gateway::start(&text).await;
    let respelt = [
        ("x_debug_user", "root"),
        ("X-Debug_User", "root"),
        ("x_role", "admin"),
        ("x_forwarded_for", "10.0.0.1"),
        ("x_real_ip", "10.0.0.1"),
        ("sessile_subject", "root"),
        ("content_type", "text/evil"),
        ("my_header", "1"),
    ];
    for seen in seen(&backend, gateway.address(), "/edited", &respelt).await {
        for (name, _) in &respelt[..7] {
            assert_eq!(seen.header(&name.to_ascii_lowercase()), None, "{name}");
        }
        assert_eq!(seen.header("x-role"), Some("guest"));
        assert_eq!(seen.header("my_header"), Some("1"));
    }
    // The one that is judged is the only one that goes on.
    let key = ann();
    let with = [("x-key", key.as_str()), ("x_key", "other")];
    for seen in seen(&backend, gateway.address(), "/guarded", &with).await {
        assert_eq!(seen.header("x-key"), Some(key.as_str()));
        assert_eq!(seen.header("x_key"), None);
    }
    for seen in seen(
        &backend,
        gateway.address(),
        "/plain",
        &[("x_internal", "1")],
    )
    .await
    {
        assert_eq!(seen.header("x_internal"), None);
    }
}

#[tokio::test]
async fn headers_of_proxies_are_removed_from_untrusted_peers() {
    let backend = Backend::echo().await;
    let changed = "[[listeners]]\nname = \"edge\"\nlisten = [\"127.0.0.1:0\"]\n\
                   untrusted_headers = { remove = [\"x-tenant\"], keep = [\"x-http-method-override\"] }\n\n";
    let strangers = [
        ("x-forwarded", "for=10.0.0.1"),
        ("forwarded-for", "10.0.0.1"),
        ("x-client-ip", "10.0.0.1"),
        ("true-client-ip", "10.0.0.1"),
        ("cf-connecting-ip", "10.0.0.1"),
        ("x-cluster-client-ip", "10.0.0.1"),
        ("x-original-url", "/admin"),
        ("x-rewrite-url", "/admin"),
        ("x_ssl_client_verify", "SUCCESS"),
        ("x-real-ip", "10.0.0.1"),
    ];
    let own = [("x-tenant", "7"), ("x-http-method-override", "DELETE")];
    let all = [&strangers[..], &own[..]].concat();
    let cases = [
        (String::new(), vec!["x-tenant"]),
        (changed.to_owned(), vec!["x-http-method-override"]),
    ];
    for (listener, passes) in cases {
        let text = listener + &config::echo(&[backend.address], "", "");
        let gateway = Gateway::start(&text).await;
        for seen in seen(&backend, gateway.address(), "/", &all).await {
            for (name, _) in &all {
                assert_eq!(seen.header(name).is_some(), passes.contains(name), "{name}");
            }
        }
    }
    let gateway = Gateway::start(&(trusting() + &config::echo(&[backend.address], "", ""))).await;
    for seen in seen(&backend, gateway.address(), "/", &all).await {
        for (name, _) in all.iter().filter(|(name, _)| !name.contains('_')) {
            assert!(seen.header(name).is_some(), "{name} of a trusted proxy");
        }
    }
}

#[tokio::test]
async fn of_several_credentials_only_the_verified_one_goes_on() {
    let backend = Backend::echo().await;
    let from = "from = [\"header:authorization\", \"cookie:sid\", \"query:t\"]";
    let text = users(from)
        + &config::echo(&[backend.address], "", "path = \"/unused\"")
        + &route(
            "in",
            "authenticate = [\"users\"]\norigins = [\"*\"]\nauthorize = [\"query:as == claim:sub or not query:as\"]",
        );
    let gateway = Gateway::start(&text).await;
    let address = gateway.address();
    let (ann, other) = (
        ann(),
        token(&json!({ "sub": "bob", "exp": in_seconds(60) })),
    );
    let (bearer, cookie) = (format!("Bearer {ann}"), format!("a=1; sid={other}"));
    let target = format!("/in?t={other}&k=1");
    let all = [("authorization", bearer.as_str()), ("cookie", &cookie)];
    for seen in seen(&backend, address, &target, &all).await {
        assert_eq!(seen.header("authorization"), Some(bearer.as_str()));
        assert_eq!(seen.header("cookie"), Some("a=1"));
        assert_eq!(seen.target, "/in?k=1");
        assert_eq!(seen.header("sessile-subject"), Some("ann"));
    }
    for seen in seen(&backend, address, &target, &[("cookie", &cookie)]).await {
        assert_eq!(seen.header("cookie"), Some(cookie.as_str()));
        assert_eq!(seen.target, "/in?k=1");
        assert_eq!(seen.header("sessile-subject"), Some("bob"));
    }
    let lookalikes = format!("/in?T={other}&k=1;t={other}&t[]={other}");
    for seen in seen(&backend, address, &lookalikes, &[("cookie", &cookie)]).await {
        assert_eq!(seen.target, "/in?k=1");
    }
    let refused = [
        ("/in", format!("sid={ann}; sid={other}"), 401),
        ("/in", format!("sid={ann}; sid ={other}"), 401),
        ("/in", format!("x=1,sid={other}; sid={ann}"), 401),
        ("/in?as=bob&as=ann", format!("sid={ann}"), 403),
        ("/in?as=ann&as=bob", format!("sid={ann}"), 403),
        ("/in?as=%FF", format!("sid={ann}"), 403),
        // What some servers read as `as`.
        ("/in?AS=bob", format!("sid={ann}"), 403),
        ("/in?as[]=bob", format!("sid={ann}"), 403),
        ("/in?x=1;as=bob", format!("sid={ann}"), 403),
        ("/in?as=ann;as=bob", format!("sid={ann}"), 403),
        ("/in?+as=bob", format!("sid={ann}"), 403),
        ("/in?was=bob&a.s=1", format!("sid={ann}"), 200),
        ("/in?as=ann", format!("sid={ann}"), 200),
        ("/in", format!("sid={ann}; sid={ann}"), 200),
    ];
    for (target, cookie, expected) in refused {
        let answer = http::get(address, target, &[("cookie", &cookie)]).await;
        assert_eq!(answer.status, expected, "{target} {cookie}");
        if expected == 401 {
            let detail = gateway.detail_of(answer.text()).await;
            assert!(detail.contains("presented twice"), "{detail}");
        }
    }
}

#[tokio::test]
async fn the_scheme_of_the_client_is_the_one_that_a_trusted_proxy_names() {
    let backend = Backend::echo().await;
    let service = Service::start(None, |_| {
        ("200 OK\r\nx-auth-subject: ann".to_owned(), String::new())
    })
    .await;
    let routes = format!(
        "[authenticators.decider]\ntype = \"forward\"\nurl = \"http://{}/\"\n\n",
        service.address
    ) + &config::echo(&[backend.address], "", "path = \"/unused\"")
        + "\n[[routes]]\nname = \"up\"\npath = \"/up\"\nredirect = { scheme = \"https\" }\n"
        + &route("up-there", "").replace("/up-there", "/{page}")
        + &route("cookie", "affinity = [{ issue_cookie = \"where\" }]")
        + &route("asked", "authenticate = [\"decider\"]")
        + &route("same", "origins = [\"same\"]");
    let over_tls = [("x-forwarded-proto", "https")];
    let forwarded = [("forwarded", "for=203.0.113.7;proto=https")];
    for (listener, headers, secure) in [
        (trusting(), &over_tls, true),
        (trusting(), &forwarded, true),
        (String::new(), &over_tls, false),
    ] {
        let gateway = Gateway::start(&(listener + &routes)).await;
        let address = gateway.address();
        let get = |path, headers: &[(&'static str, &'static str)]| {
            let headers = headers.to_vec();
            async move { http::get(address, path, &headers).await }
        };
        let up = get("/up", headers).await;
        assert_eq!(up.status, if secure { 200 } else { 308 }, "{headers:?}");
        let cookie = get("/cookie", headers).await;
        let cookie = cookie.header("set-cookie").unwrap();
        assert_eq!(cookie.contains("; Secure"), secure, "{cookie}");
        let mut with = headers.to_vec();
        with.push(("authorization", "me"));
        assert_eq!(get("/asked", &with).await.status, 200);
        let asked = service.asked().pop().unwrap();
        let scheme = if secure { "https" } else { "http" };
        assert!(
            asked.contains(&format!("x-forwarded-proto: {scheme}\r\n")),
            "{asked}"
        );
        assert_eq!(
            backend.last_seen().header("x-forwarded-proto"),
            Some(scheme)
        );
        // A page that came without TLS is another origin than one that came with it.
        let dial = Dial::new("/same")
            .host("a.example")
            .header("origin", "http://a.example");
        let dial = dial.header(headers[0].0, headers[0].1);
        let opened = dial.connect(address).await;
        let status = opened.as_ref().err().map(|refused| refused.status);
        assert_eq!(status, secure.then_some(403), "{headers:?}");
    }
}

#[tokio::test]
async fn a_trusted_proxy_names_its_client_in_forwarded_too() {
    let backend = Backend::echo().await;
    let text = trusting() + &config::echo(&[backend.address], "", "allow = [\"203.0.113.0/24\"]\n");
    let gateway = Gateway::start(&text).await;
    let cases = [
        ("for=203.0.113.7", 200),
        ("for=\"203.0.113.7:4711\";proto=https", 200),
        ("for=203.0.113.9, for=198.51.100.1", 403),
        ("for=unknown", 403),
        // No reader can find where the stranger's part ends.
        ("for=\"203.0.113.7, for=198.51.100.1", 400),
    ];
    for (forwarded, expected) in cases {
        let answer = http::get(gateway.address(), "/", &[("forwarded", forwarded)]).await;
        assert_eq!(answer.status, expected, "{forwarded}");
    }
    http::get(gateway.address(), "/", &[("forwarded", "for=203.0.113.7")]).await;
    let seen = backend.last_seen();
    assert_eq!(
        seen.header("x-forwarded-for"),
        Some("203.0.113.7, 127.0.0.1")
    );
}
