//! Behaviour of the gateway as its users see it: a module per promise, each test with a gateway in
//! a process of its own. Tests named `i1_…` to `i11_…` hold the invariants of ARCHITECTURE.md.
#![allow(
    clippy::disallowed_methods,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "tests run in real time, tell what they measured, and fail by panic"
)]
#![allow(
    unreachable_pub,
    reason = "a binary of tests exports nothing; `pub` is what modules share"
)]

mod admin;
mod admin_hostile;
mod admin_tls;
mod answers;
mod attacks;
mod auth;
mod auth_attacks;
mod auth_browser;
mod auth_forward;
mod auth_jwks;
mod auth_life;
mod auth_methods;
mod auth_mtls;
mod auth_passwords;
mod auth_refusals;
mod auth_tickets;
mod autobahn;
mod backend_loss;
mod bounds;
mod derived;
mod drain;
mod edge;
mod ejection;
mod endings;
mod etcd;
mod etcd_cli;
mod etcd_cluster;
mod etcd_documents;
mod etcd_history;
mod etcd_leases;
mod etcd_outage;
mod etcd_secure;
mod examples;
mod first_hour;
mod fleet;
mod flood;
mod forged;
mod handover;
mod http;
mod keepalive;
mod limits;
mod metric_churn;
mod no_drop;
mod orders;
mod origin;
mod overload;
mod own_address;
mod peers;
mod preview;
mod quotas;
mod rates;
mod rebalance;
mod reconnect;
mod records;
mod register;
mod relay;
mod reload;
mod renewal;
mod repeated;
mod request_records;
mod residents;
mod revocations;
mod routing;
mod scale;
mod service_unit;
mod shutdown;
mod silence;
mod slow_start;
mod spellings;
mod stalled;
mod startup;
mod state_dir;
mod support;
mod tls;
mod trailers;
mod upgrade;
