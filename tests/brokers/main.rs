//! The drivers of brokers, each against a real server: what one gateway publishes another one gets,
//! whatever happens to the server meanwhile. One suite runs for every kind.
#![allow(
    clippy::disallowed_methods,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "tests run in real time and fail by panic"
)]
#![allow(
    unreachable_pub,
    reason = "a binary of tests exports nothing; `pub` is what modules share"
)]

#[path = "../support/broker_programs.rs"]
mod broker_programs;
mod certificates;
mod member;
#[path = "../support/ports.rs"]
mod ports;
mod server;
mod suite;

/// The suite for one kind of broker.
macro_rules! suite {
    ($module:ident, $kind:ident) => {
        mod $module {
            use sessile::config::snapshot::BrokerKind::$kind;

            use crate::suite;

            #[tokio::test]
            async fn carries_messages_in_order_and_only_what_is_wanted() {
                suite::carries($kind).await;
            }

            #[tokio::test]
            async fn comes_back_after_a_kill_and_refuses_meanwhile() {
                suite::killed($kind).await;
            }

            #[tokio::test]
            async fn notices_a_stopped_server_and_doubles_nothing() {
                suite::stopped($kind).await;
            }

            #[tokio::test]
            async fn verifies_the_server_and_shows_why_it_is_not_let_in() {
                suite::verified($kind).await;
            }
        }
    };
}

suite!(kafka, Kafka);
suite!(nats, Nats);
suite!(rabbitmq, RabbitMq);
suite!(redis, Redis);

#[tokio::test]
async fn a_cluster_of_redis_shares_the_channels() {
    suite::cluster().await;
}

#[tokio::test]
async fn names_of_kafka_mean_the_records_with_a_key() {
    suite::keyed_records().await;
}

#[tokio::test]
async fn a_nats_that_is_full_refuses_names_of_services_and_nothing_else() {
    suite::few_subscriptions().await;
}
