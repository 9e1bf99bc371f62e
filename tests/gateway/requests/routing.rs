//! Which backend a request goes to, and as what.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use crate::support::{Backend, Client, Dial, Gateway, config, http};

async fn backends(count: usize) -> Vec<Backend> {
    let mut all = Vec::new();
    for _ in 0..count {
        all.push(Backend::echo().await);
    }
    all
}

fn addresses(backends: &[Backend]) -> Vec<SocketAddr> {
    backends.iter().map(|backend| backend.address).collect()
}

/// Which backend each of the keys goes to.
async fn placement(gateway: &Gateway, keys: usize) -> BTreeMap<usize, SocketAddr> {
    let mut placed = BTreeMap::new();
    for key in 0..keys {
        let answer = http::get(gateway.address(), &format!("/?k=key-{key}"), &[]).await;
        assert_eq!(answer.status, 200);
        placed.insert(key, answer.text().parse().unwrap());
    }
    placed
}

#[tokio::test]
async fn the_most_specific_route_wins_wherever_it_stands() {
    let names = [
        "rest", "host", "wild", "param", "exact", "method", "header", "query", "protocol",
    ];
    let all = backends(names.len()).await;
    let mut text = String::new();
    for (name, backend) in names.iter().zip(&all) {
        text += &format!(
            "[upstreams.{name}]\nbackends = [\"{}\"]\n\n",
            backend.address
        );
    }
    for (name, conditions) in [
        ("rest", ""),
        ("host", "hosts = [\"a.example.com\"]"),
        ("wild", "hosts = [\"*.example.com\"]"),
        ("param", "path = \"/rooms/{room}\""),
        ("exact", "path = \"/rooms/lobby\""),
        ("method", "path = \"/method\"\nmethods = [\"POST\"]"),
        (
            "header",
            "path = \"/header\"\nheaders = { x-version = \"2\" }",
        ),
        (
            "query",
            "path = \"/query\"\nquery = { v = { prefix = \"2.\" } }",
        ),
        (
            "protocol",
            "path = \"/protocol\"\nsubprotocols = [\"chat.v2\"]",
        ),
    ] {
        text += &format!("[[routes]]\nname = \"{name}\"\nupstream = \"{name}\"\n{conditions}\n\n");
    }
    let gateway = Gateway::start(&text).await;
    let cases = [
        (Dial::new("/"), "rest"),
        (Dial::new("/x").host("a.example.com"), "host"),
        (Dial::new("/x").host("A.EXAMPLE.com:8080"), "host"),
        (Dial::new("/x").host("b.example.com"), "wild"),
        (Dial::new("/x").host("c.b.example.com"), "wild"),
        (Dial::new("/x").host("example.com"), "rest"),
        (Dial::new("/rooms/kitchen"), "param"),
        (Dial::new("/rooms/lobby"), "exact"),
        (Dial::new("/rooms/lobby/x"), "rest"),
        (Dial::new("/method"), "rest"),
        (Dial::new("/header").header("x-version", "2"), "header"),
        (Dial::new("/header").header("x-version", "3"), "rest"),
        (Dial::new("/query?v=2.1"), "query"),
        (Dial::new("/query?v=1.2"), "rest"),
        (
            Dial::new("/protocol").header("sec-websocket-protocol", "chat.v1, chat.v2"),
            "protocol",
        ),
        (Dial::new("/protocol"), "rest"),
    ];
    for (number, (dial, wanted)) in cases.into_iter().enumerate() {
        let mut client = dial.connect(gateway.address()).await.unwrap();
        let at = names.iter().position(|name| *name == wanted).unwrap();
        assert_eq!(
            client.backend().await,
            all[at].address,
            "case {number}: not {wanted}"
        );
        client.close().await;
    }
}

#[tokio::test]
async fn i7_a_request_without_a_route_is_a_404_and_reaches_no_backend() {
    let backend = Backend::echo().await;
    let text = config::echo(&[backend.address], "", "path = \"/only\"");
    let gateway = Gateway::start(&text).await;
    let refused = Dial::new("/other")
        .connect(gateway.address())
        .await
        .err()
        .unwrap();
    assert_eq!(refused.status, 404);
    let kind = refused.headers["content-type"].to_str().unwrap();
    assert!(kind.starts_with("application/problem+json"), "{kind}");
    assert_eq!(backend.accepted(), 0);
}

#[tokio::test]
async fn the_backend_sees_the_request_as_the_route_rewrote_it() {
    let backend = Backend::echo().await;
    let text = format!(
        "[upstreams.echo]\n{}\n\n\
         [[routes]]\nname = \"prefix\"\npath = \"/api/{{*rest}}\"\nupstream = \"echo\"\n\
         rewrite = {{ strip_prefix = \"/api\", host = \"inner.example\" }}\n\
         request_headers = {{ remove = [\"x-secret\"], set = {{ x-set = \"new\" }}, \
         add = {{ x-add = \"second\" }} }}\n\n\
         [[routes]]\nname = \"path\"\npath = \"/old/{{room}}\"\nupstream = \"echo\"\n\
         paths = {{ encoded_slash = \"pass\" }}\n\
         rewrite = {{ path = \"/new/{{room}}/ws\" }}\n",
        config::members(&[backend.address])
    );
    let gateway = Gateway::start(&text).await;
    let dial = Dial::new("/api/chat/1?x=%20y")
        .header("x-secret", "hidden")
        .header("x-set", "old")
        .header("x-add", "first");
    let client = dial.connect(gateway.address()).await.unwrap();
    let seen = backend.last_seen();
    assert_eq!(seen.target, "/chat/1?x=%20y");
    assert_eq!(seen.header("host"), Some("inner.example"));
    assert_eq!(seen.header("x-forwarded-host"), Some("localhost"));
    assert_eq!(seen.header("x-secret"), None);
    assert_eq!(seen.header("x-set"), Some("new"));
    let added: Vec<_> = seen.headers.get_all("x-add").iter().collect();
    assert_eq!(added, ["first", "second"]);
    client.close().await;

    let client = Client::connect(gateway.address(), "/old/a%2Fb").await;
    assert_eq!(backend.last_seen().target, "/new/a%2Fb/ws");
    client.close().await;
}

#[tokio::test]
async fn redirects_keep_what_they_do_not_change() {
    let text = "[[routes]]\nname = \"secure\"\nredirect = { scheme = \"https\" }\n\n\
        [[routes]]\nname = \"moved\"\npath = \"/old/{room}\"\n\
        redirect = { host = \"new.example\", path = \"/new/{room}\", status = 302 }\n";
    let gateway = Gateway::start(text).await;
    let answer = http::get(gateway.address(), "/a?b=c", &[]).await;
    assert_eq!(
        (answer.status, answer.header("location")),
        (308, Some("https://localhost/a?b=c"))
    );
    let answer = http::get(gateway.address(), "/old/7?b=c", &[]).await;
    assert_eq!(answer.status, 302);
    assert_eq!(
        answer.header("location"),
        Some("http://new.example/new/7?b=c")
    );
}

#[tokio::test]
async fn i2_every_gateway_places_a_key_alike() {
    let all = backends(5).await;
    for policy in ["consistent_hash", "rendezvous", "maglev"] {
        let mut members = addresses(&all);
        let upstream = format!("policy = \"{policy}\"");
        let first = Gateway::start(&config::echo(&members, &upstream, "")).await;
        // The order in the file is not part of the decision.
        members.reverse();
        let second = Gateway::start(&config::echo(&members, &upstream, "")).await;
        let placed = placement(&first, 100).await;
        assert_eq!(placed, placement(&second, 100).await, "{policy}");
        let used: BTreeSet<_> = placed.values().collect();
        assert_eq!(used.len(), 5, "{policy} leaves backends empty");
    }
}

#[tokio::test]
async fn i3_only_the_keys_of_a_disabled_backend_move_and_come_back() {
    let all = backends(4).await;
    let members = addresses(&all);
    let gateway = Gateway::start(&config::echo(&members, "", "")).await;
    let before = placement(&gateway, 200).await;
    let disabled = members[0];
    let others = config::members(&members[1..]);
    let entry = format!("{{ address = \"{disabled}\", state = \"disabled\" }}");
    let changed = others.replace("backends = [", &format!("backends = [{entry}, "));
    let text = config::echo(&members, "", "").replace(&config::members(&members), &changed);
    gateway.write_config(&text);
    assert_eq!(gateway.reload().status, 200);
    let during = placement(&gateway, 200).await;
    for (key, backend) in &before {
        if *backend == disabled {
            assert_ne!(during[key], disabled);
        } else {
            assert_eq!(during[key], *backend, "key {key} moved without need");
        }
    }
    gateway.write_config(&config::echo(&members, "", ""));
    assert_eq!(gateway.reload().status, 200);
    assert_eq!(placement(&gateway, 200).await, before);
}

#[tokio::test]
async fn the_first_affinity_source_that_is_there_decides() {
    let all = backends(8).await;
    let route = "path = \"/ws/{room}\"\naffinity = [\"query:k\", \"cookie:sid\", \"header:x-user\", \"path:room\"]";
    let text = config::echo(&addresses(&all), "", "").replace("affinity = [\"query:k\"]", route);
    let gateway = Gateway::start(&text).await;
    // Ten values of one source spread; one value of it holds whatever the weaker ones say.
    let mut spread = BTreeSet::new();
    for value in 0..10 {
        let mut homes = BTreeSet::new();
        for noise in 0..5 {
            let sources = [
                Dial::new(&format!("/ws/{noise}?k={value}"))
                    .header("cookie", &format!("sid={noise}")),
                Dial::new(&format!("/ws/{noise}"))
                    .header("cookie", &format!("other=1; sid={value}"))
                    .header("x-user", &noise.to_string()),
                Dial::new(&format!("/ws/{noise}")).header("x-user", &value.to_string()),
                Dial::new(&format!("/ws/{value}?noise={noise}")),
            ];
            for dial in sources {
                let mut client = dial.connect(gateway.address()).await.unwrap();
                homes.insert(client.backend().await);
                client.close().await;
            }
        }
        assert_eq!(homes.len(), 1, "the same key from four sources, {homes:?}");
        spread.extend(homes);
    }
    assert!(spread.len() > 2, "ten keys at {spread:?}");
}

#[tokio::test]
async fn an_issued_cookie_pins_polling_and_socket_alike() {
    let all = backends(6).await;
    let text = config::echo(&addresses(&all), "", "")
        .replace("\"query:k\"", "{ issue_cookie = \"sessile\" }");
    let gateway = Gateway::start(&text).await;
    let mut homes = BTreeSet::new();
    for _ in 0..8 {
        let first = http::get(gateway.address(), "/poll", &[]).await;
        let cookie = first.header("set-cookie").expect("a cookie is issued");
        assert!(cookie.contains("HttpOnly"), "{cookie}");
        let pair = cookie.split(';').next().unwrap();
        let home = first.text().to_owned();
        let again = http::get(gateway.address(), "/poll", &[("cookie", pair)]).await;
        assert_eq!(
            (again.text(), again.header("set-cookie")),
            (home.as_str(), None)
        );
        let dial = Dial::new("/ws").header("cookie", pair);
        let mut client = dial.connect(gateway.address()).await.unwrap();
        assert_eq!(client.backend().await.to_string(), home);
        client.close().await;
        homes.insert(home);
    }
    assert!(homes.len() > 1, "everybody was sent to {homes:?}");
}

#[tokio::test]
async fn policies_without_a_key_share_the_work() {
    let all = backends(4).await;
    for policy in ["round_robin", "least_sessions", "random_two"] {
        let upstream = format!("policy = \"{policy}\"");
        let text = config::echo(&addresses(&all), &upstream, "").replace("\"query:k\"", "");
        let gateway = Gateway::start(&text).await;
        let mut clients = Vec::new();
        let mut counts = BTreeMap::<SocketAddr, usize>::new();
        for _ in 0..40 {
            let mut client = Client::connect(gateway.address(), "/").await;
            *counts.entry(client.backend().await).or_default() += 1;
            clients.push(client);
        }
        // Each worker counts for itself, so two of them may differ by one turn each.
        let (least, most) = (
            counts.values().min().unwrap(),
            counts.values().max().unwrap(),
        );
        let allowed = if policy == "random_two" { 12 } else { 4 };
        assert!(
            counts.len() == 4 && most - least <= allowed,
            "{policy}: {counts:?}"
        );
    }
}
