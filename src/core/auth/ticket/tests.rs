use super::*;
use crate::base::secret::Secret;
use crate::core::auth::methods;

fn signed(used_max: usize) -> SignedUrl {
    SignedUrl {
        secret: Secret::new("a secret of thirty-two bytes or more"),
        parameter: "ticket".to_owned(),
        leeway: Duration::ZERO,
        bytes_max: 8192,
        used_max,
        mint: None,
    }
}

#[test]
fn a_ticket_is_good_once_until_it_expires() {
    let (signed, used, now) = (signed(2), Used::default(), time(1_000));
    let ann = methods::plain(&"users".into(), "ann");
    let ticket = |random| mint(&signed, &ann, time(1_030), now, random);
    let verified = |ticket: &str, at| {
        let verified = verify(&"t".into(), &signed, &used, ticket, "/ws", time(at));
        verified.map(|principal| principal.subject.to_string())
    };
    assert_eq!(verified(&ticket(1), 1_029), Ok("ann".to_owned()));
    assert_eq!(verified(&ticket(1), 1_029), Err(CredentialFault::Used));
    let expired = |ago| {
        let ago = Duration::from_secs(ago);
        Err(CredentialFault::Expired { ago })
    };
    assert_eq!(verified(&ticket(2), 1_030), expired(0));
    assert_eq!(verified(&ticket(2), 1_034), expired(4));
    assert_eq!(verified(&ticket(3), 1_000), Ok("ann".to_owned()));
    assert_eq!(verified(&ticket(4), 1_000), Err(CredentialFault::TooMany));
    let later = mint(&signed, &ann, time(2_000), time(1_500), 5);
    assert_eq!(verified(&later, 1_500), Ok("ann".to_owned()));
    let mut forged = ticket(6);
    forged.insert(3, 'A');
    assert_eq!(verified(&forged, 1_000), Err(CredentialFault::Signature));
    assert_eq!(verified("x", 1_000), Err(CredentialFault::Malformed));
}

#[test]
fn a_ticket_keeps_what_its_origin_can_be_taken_away_by() {
    let (signed, used) = (signed(10), Used::default());
    let mut ann = methods::plain(&"users".into(), "ann");
    ann.token_id = Some("t1".into());
    ann.issued = Some(time(500));
    let verified = |ticket: &str| {
        let name = "tickets".into();
        verify(&name, &signed, &used, ticket, "/", time(1_000)).expect("good")
    };
    let first = verified(&mint(&signed, &ann, time(1_030), time(1_000), 1));
    let check = |principal: &Principal| {
        assert_eq!(&*principal.authenticator, "users");
        assert_eq!(principal.origin_id.as_deref(), Some("t1"));
        assert_eq!(principal.issued, Some(time(500)));
    };
    check(&first);
    // And a ticket for a ticket.
    check(&verified(&mint(
        &signed,
        &first,
        time(1_030),
        time(1_000),
        2,
    )));
    ann.issued = None;
    let unknown = verified(&mint(&signed, &ann, time(1_030), time(1_000), 3));
    assert_eq!(unknown.issued, None, "it counts as old");
}

#[test]
fn one_subject_does_not_fill_the_room_of_others() {
    let (signed, used) = (signed(1_000), Used::default());
    let taken = |subject: &str, from: u128, at: u64| {
        let principal = methods::plain(&"users".into(), subject);
        let ids = from..from + 40;
        let tickets = ids.map(|id| mint(&signed, &principal, time(1_030), time(1_000), id));
        let verified = tickets
            .map(|ticket| verify(&"t".into(), &signed, &used, &ticket, "/", time(at)).map(|_| ()));
        verified.filter(Result::is_ok).count()
    };
    assert_eq!(taken("ann", 0, 1_000), SHARE_MIN);
    assert_eq!(taken("bob", 100, 1_000), SHARE_MIN);
    let known = used.list(1_000);
    assert_eq!(known.len(), 2 * SHARE_MIN);
    let next = Used::default();
    next.adopt(&known);
    next.adopt(&known);
    assert_eq!(
        next.take(&known[0], 1_000, 1_000),
        Err(CredentialFault::Used)
    );
    assert_eq!(next.list(1_000).len(), known.len());
    assert!(next.list(2_000).is_empty());
    let known = next.0.lock().unwrap();
    assert!(known.by_subject.is_empty() && known.by_time.is_empty());
}

#[test]
fn a_ticket_may_be_for_one_path_and_end_the_session() {
    let (signed, used) = (signed(10), Used::default());
    let verified = |payload: Value, path| {
        let payload = BASE64_URL_SAFE_NO_PAD.encode(payload.to_string());
        let tag = BASE64_URL_SAFE_NO_PAD.encode(hmac::sign(&key(&signed), payload.as_bytes()));
        verify(
            &"t".into(),
            &signed,
            &used,
            &format!("{payload}.{tag}"),
            path,
            time(1_000),
        )
    };
    let good = json!({ "sub": "ann", "exp": 1_010, "jti": "1", "path": "/a", "until": 5_000 });
    let principal = verified(good, "/a").expect("good");
    assert_eq!(principal.expires, Some(time(5_000)));
    let other = json!({ "sub": "ann", "exp": 1_010, "jti": "2", "path": "/a" });
    assert_eq!(
        verified(other, "/b").map(|_| ()),
        Err(CredentialFault::Audience)
    );
    for wrong in [
        json!({ "exp": 1_010, "jti": "3" }),
        json!({ "sub": "ann", "jti": "3" }),
        json!({ "sub": "ann", "exp": 1_010 }),
    ] {
        assert!(verified(wrong, "/a").is_err());
    }
}
