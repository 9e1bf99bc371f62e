//! Programs of others: the conformance suite, servers and clients, the examples, the recipes.

mod autobahn;
mod examples;
mod peers;
mod recipes;
