//! Names of documents. Those that would be too long end in a hash.

use aws_lc_rs::digest;

use crate::base::text::hex;
use crate::core::kubernetes::gateway::collection::ObjectKey;

/// Bytes of a name, with room for what is added.
const NAME_LEN_MAX: usize = 110;
/// Bytes of the hash.
const HASH_LEN: usize = 16;

/// `httproute.<namespace>.<name>`; a namespace has no dot.
pub(super) fn route(key: &ObjectKey) -> String {
    short(format!("httproute.{}.{}", key.0, key.1))
}

/// `service.<namespace>.<name>.<port>`.
pub(super) fn upstream(namespace: &str, name: &str, port: u16) -> String {
    short(format!("service.{namespace}.{name}.{port}"))
}

fn short(name: String) -> String {
    if name.len() <= NAME_LEN_MAX {
        return name;
    }
    let hash = digest::digest(&digest::SHA256, name.as_bytes());
    let hash = hex(&hash.as_ref()[..HASH_LEN]);
    let kept = NAME_LEN_MAX - hash.len() - 1;
    format!("{}-{hash}", &name[..kept])
}
