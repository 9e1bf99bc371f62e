//! Programs of others: the conformance suite, servers and clients, the examples.

mod autobahn;
mod examples;
mod peers;
