//! What the behaviour tests stand on: a real gateway in a process of its own, backends that record
//! what they saw, clients, peers in other languages, certificates. Nothing here is a stand-in for a
//! part of the gateway.

pub mod acme_front;
pub mod admin;
pub mod backend;
#[path = "../../support/broker_programs.rs"]
mod broker_programs;
pub mod brokers;
pub mod certificates;
pub mod client;
pub mod config;
pub mod consul;
pub mod dns;
pub mod etcd;
pub mod etcd_world;
pub mod event_source;
pub mod events;
pub mod gateway;
pub mod http;
pub mod kubernetes;
pub mod numbered;
pub mod pebble;
pub mod peers;
#[path = "../../support/ports.rs"]
mod ports;
mod process;
pub mod prometheus;
pub mod pushpin;
pub mod raw;
pub mod raw_tls;
pub mod records;
pub mod s_client;
pub mod secrets;
pub mod service;
pub mod shell;
pub mod stores;
pub mod terminal;
pub mod time;
pub mod tokens;
pub mod wss;

pub use backend::Backend;
pub use client::{Client, Dial};
pub use gateway::Gateway;
pub use ports::free_port;
pub use raw::Raw;
pub use time::{DEADLINE, eventually, soon};

/// Lets this process, and what it starts, hold as many open files as the system allows.
pub fn raise_open_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    setrlimit(Resource::Nofile, raised).expect("the soft limit may rise to the hard one");
}
