use std::fs;
use std::path::Path;
use std::time::Duration;

use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use tokio::time::{sleep, timeout};

use super::*;
use crate::config::snapshot::{TicketKeySource, TlsVersion};

fn files(directory: &Path, name: &str) -> CertificateFiles {
    CertificateFiles {
        cert: directory.join(name).with_extension("crt"),
        key: directory.join(name).with_extension("key"),
    }
}

fn sign(files: &CertificateFiles, name: &str, until: i32) {
    let mut params = CertificateParams::new([name.to_owned()]).expect("a name");
    params.not_after = date_time_ymd(until, 1, 1);
    let key = KeyPair::generate().expect("a key");
    let cert = params.self_signed(&key).expect("a certificate");
    fs::write(&files.cert, cert.pem()).expect("a directory");
    fs::write(&files.key, key.serialize_pem()).expect("a directory");
}

fn listener(certificates: Vec<CertificateFiles>) -> (ListenerName, ListenerTls) {
    let tls = ListenerTls {
        client_authorities: 0,
        clients: None,
        certificates,
        acme: None,
        minimum: TlsVersion::V1_2,
        ticket_keys: TicketKeySource::Random,
        hsts: None,
    };
    (ListenerName::from("edge"), tls)
}

/// The first name of each certificate in force.
fn names(resolver: &Resolver) -> Vec<String> {
    let current = resolver.current();
    let certificates = current.certificates().iter();
    certificates
        .map(|certificate| certificate.names[0].clone())
        .collect()
}

#[tokio::test]
async fn i4_a_bad_certificate_does_not_unseat_a_good_one() {
    let directory = tempfile::tempdir().expect("a directory");
    let (first, second) = (
        files(directory.path(), "first"),
        files(directory.path(), "second"),
    );
    sign(&first, "a.test", 2199);
    sign(&second, "b.test", 2199);
    let (name, tls) = listener(vec![first.clone(), second.clone()]);
    let resolver = open(&name, &tls).expect("two pairs");
    let check = async |expected: [&str; 2]| {
        refresh(&name, &tls, &resolver).await;
        assert_eq!(names(&resolver), expected);
    };
    check(["a.test", "b.test"]).await;

    sign(&first, "a2.test", 2199);
    check(["a2.test", "b.test"]).await;

    // One pair is damaged, the other is new: each is judged alone.
    fs::write(&first.cert, "not PEM").expect("a directory");
    sign(&second, "b2.test", 2199);
    check(["a2.test", "b2.test"]).await;

    // A new certificate before its key.
    sign(&files(directory.path(), "other"), "a3.test", 2199);
    fs::copy(directory.path().join("other.crt"), &first.cert).expect("a file");
    check(["a2.test", "b2.test"]).await;
    fs::copy(directory.path().join("other.key"), &first.key).expect("a file");
    check(["a3.test", "b2.test"]).await;

    sign(&first, "expired.test", 1999);
    check(["a3.test", "b2.test"]).await;
    fs::remove_file(&second.key).expect("a file");
    check(["a3.test", "b2.test"]).await;
}

#[tokio::test]
async fn an_expired_certificate_is_better_than_none_and_replaced_by_any() {
    let directory = tempfile::tempdir().expect("a directory");
    let pair = files(directory.path(), "a");
    sign(&pair, "old.test", 1999);
    let (name, tls) = listener(vec![pair.clone()]);
    let resolver = open(&name, &tls).expect("a pair");
    sign(&pair, "older.test", 1998);
    refresh(&name, &tls, &resolver).await;
    assert_eq!(names(&resolver), ["older.test"]);
    assert!(open(&name, &listener(vec![files(directory.path(), "none")]).1).is_err());
}

#[tokio::test]
async fn changed_files_are_in_force_soon() {
    let directory = tempfile::tempdir().expect("a directory");
    let pair = files(directory.path(), "a");
    sign(&pair, "one.test", 2199);
    let (name, tls) = listener(vec![pair.clone()]);
    let resolver = open(&name, &tls).expect("a pair");
    // Changed before the watch begins, and then again.
    sign(&pair, "two.test", 2199);
    let following = tokio::spawn(follow(name, tls, Arc::clone(&resolver)));
    for expected in ["two.test", "three.test"] {
        sign(&pair, expected, 2199);
        let seen = async {
            while names(&resolver) != [expected] {
                sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(Duration::from_secs(5), seen)
            .await
            .expect("it is seen");
    }
    following.abort();
}
