//! Authorities that ask for a binding, are busy, suggest when to renew, or are gone.

use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use hyper::Response;
use rustls::ClientConfig;
use rustls::time_provider::TimeProvider;
use rustls_pki_types::UnixTime;
use serde_json::json;

use super::acme::{NAME, certified, listeners, listeners_at, roots, serves, shown, trusting};
use crate::support::acme_front::AcmeFront;
use crate::support::pebble::Pebble;
use crate::support::{Backend, Gateway, config, eventually};

/// 48 bytes in base64url, and others.
const KEY: &str = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W";
const OTHER_KEY: &str = "b10lLJs8l1GPIzsLP0s6pMt8O0XVGnfTaCeROxQM0BIt2XrJMDHJZBM5NuQmQJQH";
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Seconds from now to a time of the admin API; 0 if it has passed.
fn seconds_until(time: &serde_json::Value) -> u64 {
    let time = humantime::parse_rfc3339(time.as_str().expect("text")).expect("a time");
    let left = time.duration_since(SystemTime::now());
    left.unwrap_or_default().as_secs()
}

fn orders(gateway: &Gateway, outcome: &str) -> f64 {
    let outcome = format!("outcome=\"{outcome}\"");
    gateway.metric("sessile_certificate_orders_total", &[&outcome])
}

#[tokio::test]
async fn an_account_is_bound_to_one_that_the_authority_knows() {
    let pebble = Pebble::asking_for_binding("kid-1", KEY).await;
    let backend = Backend::echo().await;
    let bound = |key: &str| {
        let account = format!("external_account = {{ id = \"kid-1\", secret = \"{key}\" }}");
        listeners(&pebble, (pebble.tls_port, 0), &account)
            + &config::echo(&[backend.address], "", "")
    };
    let gateway = Gateway::start(&bound(KEY)).await;
    certified(&pebble, &gateway).await;
    drop(gateway);
    let refused = Gateway::start(&bound(OTHER_KEY)).await;
    eventually("the order is refused", async || {
        orders(&refused, "failed") > 0.5
    })
    .await;
    let fault = shown(&refused)["acme"]["fault"].to_string();
    assert!(fault.contains("external account"), "{fault}");
    assert!(!refused.log().contains(OTHER_KEY), "{}", refused.log());
}

#[tokio::test]
async fn the_wait_that_a_busy_authority_asks_for_is_honoured() {
    let (pebble, backend) = (Pebble::start().await, Backend::echo().await);
    // The directory, and the place for orders.
    for (busy, status) in [("/dir", 503), ("/order-plz", 429)] {
        // In seconds, and until a date.
        let date = httpdate::fmt_http_date(SystemTime::now() + DAY / 12);
        let wait = if status == 503 { "7200" } else { &date }.to_owned();
        let front = AcmeFront::start(&pebble, move |path| {
            let problem = json!({
                "type": "urn:ietf:params:acme:error:rateLimited",
                "detail": "too many orders",
            });
            let response = Response::builder()
                .status(status)
                .header("retry-after", &wait);
            (path == busy).then(|| response.body(problem.to_string()).expect("a response"))
        })
        .await;
        let text = listeners_at(&front.url(), &pebble, (0, 0), "")
            + &config::echo(&[backend.address], "", "");
        let gateway = Gateway::start(&text).await;
        eventually("the order is refused", async || {
            orders(&gateway, "failed") > 0.5
        })
        .await;
        let shown = shown(&gateway);
        let wait = seconds_until(&shown["acme"]["renews"]);
        assert!((7_100..=7_200).contains(&wait), "{busy}: {shown}");
        assert_eq!(shown["acme"]["failures"], 1, "{shown}");
        assert_eq!(front.requested(busy).len(), 1);
    }
}

#[tokio::test]
async fn a_certificate_is_renewed_when_its_authority_suggests_that() {
    let (pebble, backend) = (Pebble::start().await, Backend::echo().await);
    // The window of the first certificate has passed, that of the next one is far away.
    let first = Mutex::new(None);
    let front = AcmeFront::start(&pebble, move |path| {
        let certificate = path.strip_prefix("/renewal/")?.to_owned();
        let mut first = first.lock().expect("no panic");
        let is_first = *first.get_or_insert_with(|| certificate.clone()) == certificate;
        let now = SystemTime::now();
        let start = if is_first { now - DAY } else { now + DAY * 30 };
        let [start, end] = [start, start + DAY / 2].map(humantime::format_rfc3339_seconds);
        let window = json!({ "start": start.to_string(), "end": end.to_string() });
        let response = Response::builder().header("retry-after", "21600");
        let body = json!({ "suggestedWindow": window }).to_string();
        Some(response.body(body).expect("a response"))
    })
    .await;
    let text = listeners_at(&front.url(), &pebble, (pebble.tls_port, 0), "")
        + &config::echo(&[backend.address], "", "");
    let gateway = Gateway::start(&text).await;
    let certificates = || {
        let mut requested = front.requested("/renewal/");
        requested.dedup();
        requested.len()
    };
    eventually("the next certificate has its window", async || {
        certificates() == 2
            && seconds_until(&shown(&gateway)["acme"]["renews"]) < 40 * DAY.as_secs()
    })
    .await;
    let renews = seconds_until(&shown(&gateway)["acme"]["renews"]);
    let days = Duration::from_secs(renews).div_duration_f64(DAY);
    assert!((29.9..30.6).contains(&days), "{days} days");
    assert!((orders(&gateway, "ok") - 2.0).abs() < f64::EPSILON);
    let client = trusting(&pebble, &gateway).await;
    assert!(serves(&gateway, &client, NAME).await);
}

/// A clock that stands.
#[derive(Debug)]
struct Standing(UnixTime);

impl TimeProvider for Standing {
    fn current_time(&self) -> Option<UnixTime> {
        Some(self.0)
    }
}

#[tokio::test]
async fn i5_a_certificate_that_could_not_be_renewed_is_served_beyond_its_end_with_a_warning() {
    // The authority is gone before two thirds of the life are over.
    let mut pebble = Pebble::issuing_for(9).await;
    let backend = Backend::echo().await;
    let text =
        listeners(&pebble, (pebble.tls_port, 0), "") + &config::echo(&[backend.address], "", "");
    let gateway = Gateway::start(&text).await;
    let client = certified(&pebble, &gateway).await;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let now = Arc::new(Standing(UnixTime::now()));
    let builder = ClientConfig::builder_with_details(provider, now);
    let builder = builder.with_safe_default_protocol_versions();
    let builder = builder.expect("versions");
    let roots = roots(&pebble, &gateway).await;
    let builder = builder.with_root_certificates(roots);
    let of_its_life = Arc::new(builder.with_no_client_auth());
    pebble.stop();
    eventually("the renewal fails", async || {
        gateway.log().contains("the one before it is shown on")
    })
    .await;
    assert_eq!(shown(&gateway)["expired"], false);
    eventually("the end is reported", async || {
        gateway.log().contains("HAS EXPIRED")
    })
    .await;
    let shown = shown(&gateway);
    assert_eq!(shown["expired"], true, "{shown}");
    assert!(shown["acme"]["failures"].as_u64() > Some(1), "{shown}");
    assert!(!serves(&gateway, &client, NAME).await, "it has expired");
    assert!(serves(&gateway, &of_its_life, NAME).await, "the same one");
    let left = gateway.metric(
        "sessile_certificate_expiry_timestamp_seconds",
        &["listener=\"edge\""],
    );
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    assert!(left < now.expect("after 1970").as_secs_f64(), "{left}");
}
