//! The end of a gateway: what it had does not count any longer.

use rustix::process::Signal;

use super::*;
use crate::support::tokens;

const SESSIONS: usize = 500;

/// Sessions of that many principals are cut off by an end that leaves no time, and come back at the
/// other gateway long before the lease is over.
async fn sessions_of_a_gateway_that_ends_stop_to_count_at_once(kind: &'static str) {
    let (store, backend) = (StoreServer::start(kind).await, Backend::echo().await);
    let route = format!(
        "authenticate = [\"users\"]\nlimits = {{ sessions_per_principal = 1 }}\n\
         [authenticators.users]\ntype = \"jwt\"\nsecret = \"{}\"\nfrom = [\"query:token\"]\n\
         [shutdown]\ngrace = \"0s\"\n",
        tokens::SECRET
    );
    let settings = ("lease = \"10m\"", "", route.as_str());
    let mut one = node("one", &store, &[&backend], settings).await;
    let two = node("two", &store, &[&backend], settings).await;
    let targets: Vec<_> = (0..SESSIONS)
        .map(|n| tokens::token(&tokens::claims(&format!("user-{n}"))))
        .map(|token| format!("/?token={token}"))
        .collect();
    let mut inside = Vec::new();
    for target in &targets {
        inside.push(session(&one, "203.0.113.7", target).await.unwrap());
    }
    let refused = session(&two, "203.0.113.7", &targets[0]).await.err();
    assert_eq!(refused, Some(429));
    one.signal(Signal::TERM);
    one.wait_for_exit().await;
    let (mut left, mut back) = (targets, Vec::new());
    eventually("all get in at the other gateway", async || {
        for target in std::mem::take(&mut left) {
            match session(&two, "203.0.113.7", &target).await {
                Ok(client) => back.push(client),
                Err(status) => {
                    assert_eq!(status, 429);
                    left.push(target);
                }
            }
        }
        left.is_empty()
    })
    .await;
    assert_eq!(decisions(&two, "sessions", "late"), 0.0);
    assert_eq!(decisions(&two, "sessions", "unavailable"), 0.0);
}

#[tokio::test]
async fn sessions_of_a_gateway_that_ends_stop_to_count_at_once_by_redis() {
    sessions_of_a_gateway_that_ends_stop_to_count_at_once("redis").await;
}

#[tokio::test]
async fn sessions_of_a_gateway_that_ends_stop_to_count_at_once_by_memcached() {
    sessions_of_a_gateway_that_ends_stop_to_count_at_once("memcached").await;
}
