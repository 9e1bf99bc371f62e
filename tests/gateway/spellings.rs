//! One spelling of a request: whatever a client writes, the gateway decides on one form, and the
//! backend gets the form that was judged (I13).

use std::net::SocketAddr;

use crate::support::raw::Raw;
use crate::support::{Backend, Gateway, config};

/// A guarded `/admin/{*rest}` and `/exact` beside an open rest, over one backend.
fn guarded(backend: SocketAddr) -> String {
    let keys = "[authenticators.keys]\ntype = \"api_key\"\nfrom = [\"header:x-key\"]\n\
        keys = [{ subject = \"ann\", sha256 = \"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\" }]\n";
    let route = |name: &str, path: &str, more: &str| {
        format!("[[routes]]\nname = \"{name}\"\npath = \"{path}\"\nupstream = \"echo\"\n{more}\n")
    };
    let asks = "authenticate = [\"keys\"]";
    [
        keys.to_owned(),
        format!("[upstreams.echo]\n{}\n", config::members(&[backend])),
        route("admin", "/admin/{*rest}", asks),
        route("exact", "/exact", asks),
        route("cafe", "/café/{*rest}", asks),
        route(
            "host",
            "/{*rest}",
            &format!("{asks}\nhosts = [\"admin.example.com\"]"),
        ),
        route("open", "/{*rest}", ""),
        route(
            "data",
            "/data/{*rest}",
            "paths = { encoded_slash = \"pass\", \
            semicolon = \"pass\", empty_segments = \"pass\", lookalikes = \"pass\" }",
        ),
    ]
    .join("\n")
}

/// The status that a request line and a host are answered with.
async fn status(gateway: &Gateway, target: &str, host: &str) -> u16 {
    let mut raw = Raw::connect(gateway.address()).await;
    raw.write(format!(
        "GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
    ))
    .await;
    raw.status().await.expect("an answer")
}

#[tokio::test]
async fn i13_no_spelling_of_a_guarded_path_goes_by_the_open_route() {
    let backend = Backend::echo().await;
    let gateway = Gateway::start(&guarded(backend.address)).await;
    for (target, expected) in [
        ("/admin/x", 401),
        ("//admin/x", 401),
        ("/%61dmin", 401),
        ("/%61%64min///x", 401),
        ("/caf%c3%a9/x", 401),
        ("/café/x", 401),
        ("/admin%2fx", 400),
        ("/%2fadmin/x", 400),
        ("/admin\\x", 400),
        ("/%5cadmin/x", 400),
        ("/admin;a=1/x", 400),
        ("/;/admin/x", 400),
        ("/x/../admin/x", 400),
        ("/x/%2e%2e/admin/x", 400),
        ("/exact/", 400),
        ("/Exact", 400),
        ("/Admin/x", 400),
        ("/admin%00", 400),
        ("/%c0%afadmin", 400),
        ("/100%", 400),
        ("/ws/room#7?k=1", 400),
        ("/a\"b", 400),
        ("/<a>", 400),
    ] {
        assert_eq!(
            status(&gateway, target, "a.example").await,
            expected,
            "{target}"
        );
    }
    assert_eq!(
        backend.accepted(),
        0,
        "a refused request reached the backend"
    );
    for (target, forwarded) in [
        ("/open//x?y=%6b", "/open/x?y=%6b"),
        ("/%6fpen/%7e%c3%a9", "/open/~%C3%A9"),
        ("/Open/", "/Open/"),
        ("/data/a%2fb;c=1//d", "/data/a%2Fb;c=1//d"),
        ("/data/Admin/", "/data/Admin/"),
    ] {
        assert_eq!(status(&gateway, target, "a.example").await, 200, "{target}");
        assert_eq!(backend.last_seen().target, forwarded, "{target}");
    }
}

#[tokio::test]
async fn i13_a_host_is_guarded_in_every_spelling() {
    let backend = Backend::echo().await;
    let gateway = Gateway::start(&guarded(backend.address)).await;
    for (target, host, expected) in [
        ("/x", "admin.example.com", 401),
        ("/x", "ADMIN.Example.com.", 401),
        ("/x", "admin.example.com:8080", 401),
        ("http://admin.example.com/x", "admin.example.com", 401),
        ("http://x@admin.example.com/x", "x@admin.example.com", 400),
        ("http://x@admin.example.com/x", "admin.example.com", 400),
        ("/x", "admin%2eexample.com", 400),
        ("/x", "admin..example.com", 400),
        ("/x", ".admin.example.com", 400),
        ("/x", "admin.example.com:x", 400),
        ("/x", "admin.example.com,a", 400),
    ] {
        assert_eq!(
            status(&gateway, target, host).await,
            expected,
            "{target} {host}"
        );
    }
    assert_eq!(
        backend.accepted(),
        0,
        "a refused request reached the backend"
    );
    assert_eq!(status(&gateway, "/x", "Other.Example.:80").await, 200);
    assert_eq!(backend.last_seen().header("host"), Some("other.example:80"));
}
