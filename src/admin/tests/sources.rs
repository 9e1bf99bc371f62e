//! Sources as the admin API shows and orders them.

use std::sync::Arc;

use serde_json::json;

use super::{ask, check};
use crate::admin::Gateway;
use crate::admin::tests::support::{Fixture, built_in, fixture};
use crate::base::source_id::SourceId;
use crate::control::sources::{FollowStatus, Source, SourceStatus, Work};

/// A source that is followed and cannot be reached.
#[derive(Debug)]
struct Away;

impl Source for Away {
    fn id(&self) -> SourceId {
        SourceId::Etcd
    }

    fn status(&self) -> SourceStatus {
        SourceStatus::Followed(Box::new(FollowStatus {
            fault: Some("refused".to_owned()),
            revision: 7,
            documents: 3,
            ..FollowStatus::default()
        }))
    }

    fn follow(self: Arc<Self>) -> Work<()> {
        Box::pin(std::future::ready(()))
    }

    fn accept(&self) -> Option<usize> {
        Some(2)
    }
}

#[tokio::test]
async fn each_source_has_its_own_status_and_takes_its_own_orders() {
    let fixture = fixture(built_in(), vec![]);
    let Gateway { sources, .. } = &*fixture.gateway;
    let away = Arc::new(Away) as Arc<dyn Source>;
    let sources = sources.iter().cloned().chain([away]).collect();
    let gateway = Arc::into_inner(fixture.gateway).expect("the only handle");
    let fixture = Fixture {
        gateway: Arc::new(Gateway { sources, ..gateway }),
        received: fixture.received,
    };
    let (_, status) = ask(&fixture, "GET /v1/status").await;
    let items = &status["sources"]["items"];
    assert_eq!(
        (&items[0]["source"], &items[0]["current"]),
        (&json!("file"), &json!(true))
    );
    let expected = json!({
        "source": "etcd", "precedence": 4, "current": false, "fault": "refused", "revision": 7,
        "age_seconds": null, "documents": 3, "refused": 0, "waiting": 0,
    });
    assert_eq!(items[1], expected);
    assert_eq!(status["sources"]["etcd"]["revision"], 7);
    let (code, accepted) = ask(&fixture, "POST /v1/sources/etcd/accept").await;
    assert_eq!((code, &accepted["documents"]), (202, &json!(2)));
    // The file is never in doubt, and there is no other source.
    let orders = [
        ("POST /v1/sources/file/accept", 404),
        ("POST /v1/sources/moon/accept", 404),
    ];
    check(&fixture, &orders).await;
}
