//! wss as other TLS stacks see it, at both sides of the gateway.

mod attacks;
mod handover;
mod interop;
mod older_process;
mod secrets;
mod under_way;

/// A TLS listener `edge` with `edge.crt` and `edge.key`, which lie beside gateway.toml.
pub const LISTENER: &str = "[[listeners]]\nname = \"edge\"\nlisten = [\"127.0.0.1:0\"]\n\
    tls.certificates = [{ cert = \"edge.crt\", key = \"edge.key\" }]\n\n";
