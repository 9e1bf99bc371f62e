//! Contexts that are kept between turns belong to the right keys.

use super::*;

fn send(connection: &mut Connection, cache: &mut ContextCache, data: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut turn = connection.turn_with(cache).expect("not frozen");
    turn.send(data, &mut out).expect("open");
    turn.keep(cache);
    out
}

fn receive(connection: &mut Connection, cache: &mut ContextCache, records: &[u8]) -> Vec<u8> {
    let (mut input, mut into) = (records.to_vec(), vec![0; DATA_MAX]);
    let mut turn = connection.turn_with(cache).expect("not frozen");
    let bytes = turn.receive(&mut input, &mut into);
    turn.keep(cache);
    into.truncate(bytes);
    into
}

#[test]
fn connections_that_share_a_place_get_contexts_of_their_own() {
    for (version, suite) in ALL {
        let mut cache = ContextCache::new(1);
        let (mut client, mut server) = pair(version, suite);
        for round in 0..3_u8 {
            let bytes = send(&mut client, &mut cache, &[round]);
            assert_eq!(receive(&mut server, &mut cache, &bytes), [round]);
            let bytes = send(&mut server, &mut cache, &[round, 1]);
            assert_eq!(receive(&mut client, &mut cache, &bytes), [round, 1]);
        }
        assert_eq!(cache.len(), 1);
    }
}

#[test]
fn contexts_stay_until_they_are_cleared() {
    let (mut client, mut server) = pair(Version::V1_3, Suite::Aes128Gcm);
    let mut caches = [ContextCache::new(64), ContextCache::new(64)];
    for round in 0..3_u8 {
        let bytes = send(&mut client, &mut caches[0], &[round]);
        assert_eq!(receive(&mut server, &mut caches[1], &bytes), [round]);
        assert_eq!(caches.each_ref().map(ContextCache::len), [1, 1]);
    }
    caches.iter_mut().for_each(ContextCache::clear);
    assert_eq!(caches.each_ref().map(ContextCache::len), [0, 0]);
    let bytes = send(&mut client, &mut caches[0], b"again");
    assert_eq!(receive(&mut server, &mut caches[1], &bytes), b"again");
}

#[test]
fn contexts_of_keys_that_were_replaced_are_not_used() {
    let (mut client, mut server) = pair(Version::V1_3, Suite::Aes128Gcm);
    let mut caches = [ContextCache::new(1), ContextCache::new(1)];
    let bytes = send(&mut client, &mut caches[0], b"before");
    assert_eq!(receive(&mut server, &mut caches[1], &bytes), b"before");
    // Another thread has the connections meanwhile: it has none of these caches.
    client.turn().expect("not frozen").update_sending();
    server.turn().expect("not frozen").update_receiving();
    let bytes = send(&mut client, &mut caches[0], b"after");
    assert_eq!(receive(&mut server, &mut caches[1], &bytes), b"after");
}

#[test]
fn a_frozen_connection_has_no_turn_whatever_is_kept() {
    let (mut client, _) = pair(Version::V1_3, Suite::Aes128Gcm);
    let mut cache = ContextCache::new(1);
    send(&mut client, &mut cache, b"before");
    assert!(client.pack().is_some());
    assert!(client.turn_with(&mut cache).is_none());
}
