//! TLS sessions with backends are resumed by their tickets.

use crate::support::certificates::Authority;
use crate::support::{Backend, Client, Gateway, config};

fn count(gateway: &Gateway, kind: &str) -> f64 {
    let kind = format!("kind=\"{kind}\"");
    gateway.metric(
        "sessile_backend_tls_handshakes_total",
        &["route=\"all\"", &kind],
    )
}

#[tokio::test]
async fn a_second_dial_of_a_backend_resumes_also_after_a_reload() {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::new(directory.path());
    let inner = authority.issue("inner", &["inner.test"]);
    let backend = Backend::echo_tls(authority.server(&inner)).await;
    let upstream = "tls = { ca = \"ca.pem\", server_name = \"inner.test\" }";
    let text = config::echo(&[backend.address], upstream, "");
    let gateway = Gateway::start_in(directory, &text).await;
    let session = async || {
        let mut client = Client::connect(gateway.address(), "/").await;
        client.echo("hello").await;
        client.close().await;
    };
    session().await;
    assert!((count(&gateway, "full") - 1.0).abs() < f64::EPSILON);
    session().await;
    assert!((count(&gateway, "resumed") - 1.0).abs() < f64::EPSILON);

    // The roots are read again and are the same.
    gateway.write_config(&config::echo(
        &[backend.address],
        upstream,
        "path = \"/{*rest}\"",
    ));
    assert_eq!(gateway.reload().status, 200);
    session().await;
    assert!((count(&gateway, "resumed") - 2.0).abs() < f64::EPSILON);

    // With other roots the certificate is verified anew, and these refuse it.
    let other = tempfile::tempdir().unwrap();
    Authority::new(other.path());
    std::fs::copy(
        other.path().join("ca.pem"),
        gateway.directory().join("ca.pem"),
    )
    .unwrap();
    assert_eq!(gateway.reload().status, 200);
    let refused = crate::support::Dial::new("/")
        .connect(gateway.address())
        .await;
    assert!(refused.is_err(), "a ticket outlived the roots");
    assert!((count(&gateway, "full") - 1.0).abs() < f64::EPSILON);
}
