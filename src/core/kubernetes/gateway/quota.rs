//! How much all HTTPRoutes together may come to. Older ones come first.

use std::collections::BTreeSet;

use crate::core::kubernetes::gateway::report::Fault;

/// Matches of all routes, each counted once for each of its hosts.
const MATCHES_MAX: usize = 16_384;
/// Services of all routes: each is a watch. There are more for upstreams of gateway.toml.
const SERVICES_MAX: usize = 384;

/// What is left.
#[derive(Debug)]
pub(super) struct Quota {
    matches: usize,
    services: BTreeSet<String>,
}

impl Quota {
    pub(super) const fn new() -> Self {
        Self {
            matches: MATCHES_MAX,
            services: BTreeSet::new(),
        }
    }

    /// Takes so many matches, and these upstreams; nothing if it is too much.
    pub(super) fn take<'a>(
        &mut self,
        matches: usize,
        upstreams: impl Iterator<Item = &'a str> + Clone,
    ) -> Result<(), Fault> {
        let Some(left) = self.matches.checked_sub(matches) else {
            let message = format!("all HTTPRoutes have more than {MATCHES_MAX} hosts with matches");
            return Err(Fault::unsupported(message));
        };
        let new = |name: &&str| !self.services.contains(*name);
        let new: BTreeSet<_> = upstreams.filter(new).collect();
        if self.services.len() + new.len() > SERVICES_MAX {
            let message = format!("all HTTPRoutes lead to more than {SERVICES_MAX} Services");
            return Err(Fault::unsupported(message));
        }
        let new: Vec<_> = new.into_iter().map(str::to_owned).collect();
        self.services.extend(new);
        self.matches = left;
        Ok(())
    }
}
