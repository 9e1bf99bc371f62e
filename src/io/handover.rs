//! The protocol by which one process hands its sockets over to another: framed JSON over a unix
//! stream socket, with descriptors attached.
//!
//! ```text
//! new  Hello ▸                        which versions it understands
//! old        ◂ Welcome, Listener…     a descriptor each
//! new  Serving ▸                      it accepts; the old process stops accepting
//! old        ◂ Topics…
//! old        ◂ Tickets… Revocations… Orders… History… Ids…   and again before Done
//! old        ◂ Session…, Batch        two descriptors and the state each, now frozen
//! new  Taken ▸                        those are the new one's, and only now does it touch them
//! old        ◂ Session…, Batch        and so on, then Done
//! new  Finished ▸                     the old process ends
//! ```
//!
//! **Who owns a session** is decided at one point: when `Taken` is in the receive queue of the old
//! process. The new process moves no byte before that, and none if it cannot be sent. If the old
//! process gives up, it first shuts its receiving side, after which the system accepts no more
//! `Taken`, and then reads the queue to its end: sessions named there belong to the new process,
//! the rest to the old one. So at no moment do both own a session, or neither.

mod wire;

use serde::{Deserialize, Serialize};

use crate::base::revocation::Revocation;
use crate::base::session_id::SessionId;
use crate::core::session::drain::BackendOrder;
use crate::core::session::staying::Staying;
use crate::io::net::listener::Owner;

pub use wire::{MESSAGE_MAX, Message, SESSION_STATE_MAX, Wire, WireError};

/// Version of these messages.
pub const PROTOCOL: u32 = 1;
/// Version of the state of a session without TLS, as this program writes it.
pub const STATE: u32 = 1;
/// Version of the state of a session with TLS. A process that reads only [`STATE`] gets no session
/// with TLS.
pub const STATE_TLS: u32 = 2;
/// From this version on a state also has the session's details. A process that reads only older
/// versions gets the session without them.
pub const STATE_DETAILS: u32 = 3;
/// Version of the state of a session of which one end is in the process. A process that reads only
/// older versions gets no such session.
pub const STATE_ENDS: u32 = 4;
/// From this version on a process also reads the ids of published messages, and the topics of
/// sessions at a broker.
pub const STATE_IDS: u32 = 5;
/// Version of the state of a session whose messages go to a function. A process that reads only
/// older versions gets no such session.
pub const STATE_FUNCTIONS: u32 = 6;
/// From this version on a process reads the history of messages, with the ids that processes before
/// it gave.
pub const STATE_HISTORY: u32 = 7;
/// The newest version of a session's state that this program reads.
pub const STATE_NEWEST: u32 = STATE_HISTORY;
/// The oldest version of a session's state that this program reads.
pub const STATE_OLDEST: u32 = 1;

/// Of the program.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Messages of the new process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "say", rename_all = "snake_case", deny_unknown_fields)]
pub enum FromNew {
    /// First.
    Hello {
        /// Of the messages.
        protocol: u32,
        /// Oldest and newest version of a session's state that it reads.
        states: (u32, u32),
        /// Of the program.
        version: String,
    },
    /// It accepts clients on all its listeners.
    Serving,
    /// The sessions of a batch: those that are its own from now on, and those that it cannot take.
    Taken {
        /// Its own.
        taken: Vec<SessionId>,
        /// With the reason.
        refused: Vec<(SessionId, String)>,
    },
    /// It has everything and needs the old process no longer.
    Finished,
    /// It gives up, and why.
    Failed {
        /// For the log.
        reason: String,
    },
}

/// Messages of the old process.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "say", rename_all = "snake_case", deny_unknown_fields)]
pub enum FromOld {
    /// The new process may have everything. In the attachment are the keys of TLS tickets, in the
    /// form of the control plane; a process that does not read that form makes keys of its own.
    Welcome {
        /// Of the messages.
        protocol: u32,
        /// Of the state of its sessions.
        state: u32,
        /// Of the program.
        version: String,
        /// Its process.
        pid: u32,
        /// So many of `Listener` follow.
        listeners: usize,
    },
    /// The new process gets nothing.
    Refused {
        /// What is in the way.
        reason: String,
    },
    /// A listening socket, one descriptor.
    Listener {
        /// What for.
        owner: Owner,
        /// As configured.
        asked: String,
    },
    /// A part of the revocations made by the admin API of the old process. All parts together
    /// replace those sent before.
    Revocations {
        /// To be in force before anything that follows.
        revocations: Vec<Revocation>,
        /// Another part follows.
        more: bool,
    },
    /// A part of the used tickets; they are added to those sent before. Omitted if there are none.
    Tickets {
        /// By authenticator, as the control plane writes it.
        used: serde_json::Value,
    },
    /// A part of the operators' orders for backends. All parts together replace those sent before.
    Orders {
        /// Some of them.
        orders: Vec<BackendOrder>,
        /// Another part follows.
        more: bool,
    },
    /// A part of the messages that are kept for clients that come back, in the attachment, in the
    /// form of the control plane; they are added to those sent before. Sent to a process that
    /// reads [`STATE_HISTORY`]; what older processes send is left out.
    History,
    /// A part of the ids of published messages, in the attachment, in the form of the control
    /// plane; they are added to those sent before. Sent to a process that reads [`STATE_IDS`].
    Ids,
    /// A part of the topics of the sessions at a broker, in the attachment, in the form of the
    /// control plane. Sent before the first session, to a process that reads [`STATE_IDS`].
    Topics,
    /// A session: its state in the attachment, the client's descriptor, then the backend's unless
    /// it is between two.
    Session {
        /// Which.
        id: SessionId,
        /// Bytes of the TLS states of client and backend, which the attachment ends with; 0 for an
        /// end without TLS. Omitted if neither has TLS.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        tls: Option<(usize, usize)>,
    },
    /// Those since the last one are to be taken now.
    Batch,
    /// No more follow. This many sessions stay in the old process until they end.
    Done {
        /// All of them.
        staying: usize,
        /// By reason; sent to a process that reads [`STATE_TLS`].
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reasons: Option<Staying>,
    },
    /// The old process continues, or ends, without handing over the rest.
    Stopped {
        /// What happened.
        reason: String,
        /// Whether it accepts clients again.
        serving: bool,
    },
}

impl FromNew {
    /// Which message it is, for the log.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Hello { .. } => "hello",
            Self::Serving => "serving",
            Self::Taken { .. } => "taken",
            Self::Finished => "finished",
            Self::Failed { .. } => "failed",
        }
    }
}

impl FromOld {
    /// Which message it is, for the log.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Welcome { .. } => "welcome",
            Self::Refused { .. } => "refused",
            Self::Listener { .. } => "listener",
            Self::Tickets { .. } => "tickets",
            Self::Revocations { .. } => "revocations",
            Self::Orders { .. } => "orders",
            Self::History => "history",
            Self::Ids => "ids",
            Self::Topics => "topics",
            Self::Session { .. } => "session",
            Self::Batch => "batch",
            Self::Done { .. } => "done",
            Self::Stopped { .. } => "stopped",
        }
    }
}

/// Whether the two can understand each other.
///
/// # Errors
/// A sentence for the log of both.
pub fn agree(protocol: u32, states: (u32, u32)) -> Result<(), String> {
    if protocol != PROTOCOL {
        return Err(format!(
            "the new process speaks version {protocol} of the hand-over, this one {PROTOCOL}"
        ));
    }
    let (oldest, newest) = states;
    if !(oldest..=newest).contains(&STATE) {
        return Err(format!(
            "the new process reads sessions of versions {oldest} to {newest}, this one writes {STATE}"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
