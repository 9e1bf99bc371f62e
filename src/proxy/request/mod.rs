//! One request on its way through the stages.

pub(crate) mod record;
pub(crate) mod target;
