//! Resources that understand `scope` themselves.

/// Whether the resource at this path does: groups are those of the gateways at one broker, which
/// need not be those that follow one etcd; the load of an upstream is one number, not a list.
pub(super) fn has_own_scope(path: &str) -> bool {
    let folder = |folder: &str| path.starts_with(folder);
    path == "/v1/groups" || folder("/v1/groups/") || folder("/v1/scaling/")
}
