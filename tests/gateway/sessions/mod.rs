//! Live sessions: the relay, keepalive, endings, another backend, records.

mod backend_loss;
mod endings;
mod keepalive;
mod no_drop;
mod operated;
mod past;
mod reconnect;
mod records;
mod relay;
mod renewal;
mod shown;
mod silence;
mod socket_options;
mod tap;
