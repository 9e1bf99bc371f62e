//! What the shell does with etcd.

pub(super) mod access;
