//! The ends of the tokens that a configuration gives to operators and publishers.

use std::time::SystemTime;

use crate::config::snapshot::Snapshot;

/// A token that the process has accepted since its start, with its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenEnd {
    /// Its key in the configuration, such as `admin.read_token` or `publish.tokens.app`.
    pub name: Box<str>,
    /// From then on it is refused.
    pub expires: SystemTime,
}

/// The tokens with an end in a configuration.
pub fn ends(snapshot: &Snapshot) -> Vec<TokenEnd> {
    let admin = &snapshot.admin;
    let own = [
        ("admin.token", &admin.token),
        ("admin.read_token", &admin.read_token),
    ];
    let own = own.into_iter().filter_map(|(name, token)| {
        let expires = token.as_ref()?.expires?;
        Some(TokenEnd {
            name: name.into(),
            expires,
        })
    });
    let publishers = snapshot.publish.iter().flat_map(|publish| &*publish.tokens);
    let publishers = publishers.filter_map(|token| {
        Some(TokenEnd {
            name: format!("publish.tokens.{}", token.name).into(),
            expires: token.expires?,
        })
    });
    own.chain(publishers).collect()
}
