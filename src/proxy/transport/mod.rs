//! A client's connection: PROXY header, TLS, then HTTP until it ends or a 101 has left; then hyper
//! is gone and a session has the stream. HTTP/1 carries one request at a time. A transport that
//! carries many is a sibling of `http1`: it makes a `Received` of each, and gets an `Answer`.

mod client_stream;
mod closing;
mod deadlines;
mod http1;
mod http1_state;
mod opening;
mod serve;

pub(crate) use serve::serve;
