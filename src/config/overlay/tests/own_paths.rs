//! Paths at which the gateway itself answers, claimed by two.

use super::world::{FILE, World, put};
use crate::base::source_id::SourceId;
use crate::config::documents::Change;
use crate::config::overlay::DocumentStatus;
use crate::config::snapshot::Snapshot;

const KEY: &str = "not-to-be-seen-0123456789-abcdefghij";

fn users(revision: i64) -> Change {
    let text = format!(r#"{{"type": "jwt", "secret": "{KEY}"}}"#);
    put("authenticators/users", &text, revision)
}

fn tickets(name: &str, path: &str, revision: i64) -> Change {
    let text = format!(
        r#"{{"type": "signed_url", "secret": "{KEY}", "mint": "{path}", "mint_for": ["users"]}}"#
    );
    put(&format!("authenticators/{name}"), &text, revision)
}

fn renewed(name: &str, path: &str, revision: i64) -> Change {
    let text = format!(
        r#"{{"path": "/{name}", "upstream": "chat", "authenticate": ["users"], "renew": "{path}"}}"#
    );
    put(&format!("routes/{name}"), &text, revision)
}

/// Who answers at which path.
fn answers(now: &Snapshot) -> Vec<String> {
    let mints = now.authenticators.values();
    let mints = mints.filter_map(|one| Some(format!("{} {}", one.mint()?.path, one.name)));
    let renewals = now.routes.iter();
    let renewals =
        renewals.filter_map(|one| Some(format!("{} {}", one.auth.renew.as_ref()?, one.name)));
    let mut all: Vec<_> = mints.chain(renewals).collect();
    all.sort();
    all
}

#[test]
fn i4_a_path_of_the_gateways_own_has_one_meaning_and_the_older_document_keeps_it() {
    let documents = [
        tickets("tickets", "/own", 2),
        renewed("a", "/own", 3),
        tickets("others", "/own", 4),
        renewed("b", "/b", 5),
    ];
    // In whichever order they come.
    for turned in [false, true] {
        let mut world = World::new();
        world.apply(vec![users(1)]);
        let mut order = documents.to_vec();
        if turned {
            order.reverse();
        }
        order
            .into_iter()
            .for_each(|change| world.apply(vec![change]));
        assert_eq!(answers(&world.now), ["/b b", "/own tickets"], "{turned}");
        for (key, claim) in [("routes/a", 3), ("authenticators/others", 4)] {
            let view = world.view(key);
            assert_eq!(view.status, DocumentStatus::Waiting, "{key}");
            // What else they say is in force, and both places are named.
            assert_eq!(view.in_force, Some(claim), "{key}");
            let waits = view.waits_for.expect("a reason");
            let named = "`mint` of authenticator `tickets` in document `authenticators/tickets`";
            assert!(waits.contains("`/own`") && waits.contains(named), "{waits}");
        }
        assert!(world.routes().contains(&"a"));
        assert_eq!(
            world
                .composer
                .waiting(&world.overlay, &world.now, SourceId::Etcd),
            2
        );
        // Backends come and go without a look at routes.
        world.apply(vec![put("backends/chat/b", r#""127.0.0.1:3""#, 6)]);
        assert_eq!(answers(&world.now), ["/b b", "/own tickets"], "{turned}");
        // Free again.
        world.apply(vec![tickets("tickets", "/elsewhere", 7)]);
        assert_eq!(
            answers(&world.now),
            ["/b b", "/elsewhere tickets", "/own a"],
            "{turned}"
        );
        assert_eq!(world.view("routes/a").status, DocumentStatus::InForce);
    }
}

#[test]
fn i4_no_document_takes_a_path_of_the_gateways_own_from_the_file() {
    let file = format!(
        "{FILE}authenticate = [\"users\"]\nrenew = \"/renew\"\n\n\
         [authenticators.users]\ntype = \"jwt\"\nsecret = \"{KEY}\"\n"
    );
    let mut world = World::of(&file);
    world.apply(vec![users(1)]);
    world.apply(vec![
        tickets("tickets", "/renew", 1),
        renewed("b", "/renew", 2),
    ]);
    assert_eq!(answers(&world.now), ["/renew chat"]);
    for key in ["authenticators/tickets", "routes/b"] {
        let waits = world.view(key).waits_for.unwrap_or_default();
        assert!(
            waits.contains("`renew` of route `chat` in the file"),
            "{key}: {waits}"
        );
    }
}

#[test]
fn i4_an_authenticator_may_come_before_those_that_it_names() {
    for turned in [false, true] {
        let mut world = World::new();
        let mut order = [users(1), tickets("tickets", "/own", 2)];
        if turned {
            order.reverse();
        }
        for change in order {
            world.apply(vec![change]);
        }
        assert_eq!(answers(&world.now), ["/own tickets"], "{turned}");
    }
}
