//! What a client does wrong after its handshake, or right and rarely. The cases and their right
//! answers are in `tests/peers/python/tls_attacks.py`.

use std::collections::BTreeSet;

use super::LISTENER;
use crate::support::certificates::Authority;
use crate::support::peers::{Language, finish_client};
use crate::support::{Backend, Gateway, config};

/// Cases, by how their names begin, that rustls' own record layer answers in another way.
const RUSTLS_DIFFERS: [&str; 14] = [
    // It ends the connection without an alert.
    "forty updates",
    "forty requested updates",
    "forty empty records",
    "six warnings",
    "a_second_renegotiation",
    "handshake message 1 1.2",
    "data_between_the_pieces_of_an_update",
    "an_alert_between_the_pieces_of_an_update",
    "a_handshake_message_of_16_mebibytes",
    "a_plaintext_of_zeros",
    "an_empty_plaintext",
    // It takes an empty record of type handshake, which RFC 8446, section 5.1, forbids.
    "an_empty_record_of_handshake",
    // It allows 2^14 + 2048 bytes in TLS 1.3 too, and has another alert for more in TLS 1.2.
    "a_header_of_a_record_that_is_too_long 1.3",
    "a_header_of_a_record_that_is_too_long 1.2",
];

/// Names of the cases that failed, each with what happened.
async fn failed_cases(node: &str) -> Vec<(String, String)> {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::new(directory.path());
    authority.issue("edge", &["127.0.0.1"]);
    let backend = Backend::echo().await;
    let routes = config::echo(&[backend.address], "", "");
    let gateway = Gateway::start_in(directory, &format!("{node}{LISTENER}{routes}")).await;
    let port = gateway.address().port().to_string();
    let (_, result) = finish_client(Language::Python, "tls_attacks", &[port]).await;
    let passed = result["passed"].as_array().unwrap().len();
    assert!(passed > 150, "{passed} cases passed: {result}");
    let failed = result["failed"].as_object().unwrap().iter();
    let failed = failed.map(|(case, why)| (case.clone(), why.to_string()));
    failed.collect()
}

#[tokio::test]
async fn what_a_client_does_wrong_after_its_handshake_is_answered_as_the_rfcs_say() {
    let failed = failed_cases("").await;
    assert!(failed.is_empty(), "{failed:#?}");
}

#[tokio::test]
async fn rustls_alone_answers_the_same_but_in_known_cases() {
    let failed = failed_cases("# node: tls_records = \"rustls\"\n").await;
    let of_rustls = |case: &str| {
        let known = RUSTLS_DIFFERS.iter();
        known.copied().find(|known| case.starts_with(known))
    };
    let others = failed.iter().filter(|(case, _)| of_rustls(case).is_none());
    let others: Vec<_> = others.collect();
    assert!(others.is_empty(), "{others:#?}");
    let found = failed.iter().filter_map(|(case, _)| of_rustls(case));
    assert_eq!(BTreeSet::from_iter(found), BTreeSet::from(RUSTLS_DIFFERS));
}
