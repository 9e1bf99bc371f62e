//! Resources that understand `scope` themselves.

/// Whether the resource at this path does: groups are those of the gateways at one broker, which
/// need not be those that follow one etcd.
pub(super) fn has_own_scope(path: &str) -> bool {
    path == "/v1/groups" || path.starts_with("/v1/groups/")
}
