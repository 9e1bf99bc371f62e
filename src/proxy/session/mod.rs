//! Live sessions: begun at the 101, found by id, woken when they are due, moved to another backend
//! or another process, and ended with one record each (I6).

pub(crate) mod begin;
pub(crate) mod delivery;
mod delivery_queue;
mod ended;
pub(crate) mod handover;
mod index;
pub(crate) mod live_session;
pub(crate) mod message_commands;
mod missed;
pub(crate) mod orders;
mod queue_bounds;
mod reconnect;
pub(crate) mod registry;
mod renewal;
pub(crate) mod resumption;
mod rights;
mod shown;
mod task;
mod tuning;

pub(crate) use handover::{adopt, pack, release, resume};
pub(crate) use rights::{renew_all, revoke_all};
pub(crate) use shown::rights;
