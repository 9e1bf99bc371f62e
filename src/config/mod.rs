//! What the operator wrote, checked. `model` is what serde reads, `validate` turns it into a
//! `Snapshot` and finds every fault at once, `diagnostic` shows a fault under the line that holds
//! it. Reading files is `control::load`'s.

pub mod bounds;
pub mod broker_name;
pub mod conflict;
pub mod consul_service;
pub mod decode;
pub mod diagnostic;
pub mod dns_name;
pub mod document_key;
pub mod documents;
pub mod expression;
pub mod footprint;
pub mod key_set;
pub mod kubeconfig;
pub mod kubernetes_service;
pub mod layers;
pub mod limits;
pub mod model;
pub mod origin;
pub mod overlay;
pub mod pace;
pub mod pattern;
pub mod pem;
pub mod protect;
pub mod public_url;
pub mod route_key;
pub mod snapshot;
pub mod span;
pub mod ticket_keys;
pub mod untrusted;
pub mod validate;
pub mod yaml;
