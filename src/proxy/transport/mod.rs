//! A client's connection: PROXY header, TLS, HTTP/1, and its end.

pub(crate) mod closing;
pub(crate) mod connection;
pub(crate) mod deadlines;
