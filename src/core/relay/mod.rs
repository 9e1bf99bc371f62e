//! A session after its 101, without I/O: a state machine that is given bytes and time. It answers
//! what to write to which side, which side to read, when to wake, and what came of it.
//!
//! ```text
//!             bytes                    Machine                     bytes
//!  client  ----------->  Direction up:   inspect, hold, insert  ----------->  backend
//!          <-----------  Direction down: inspect, hold, insert  <-----------
//!                        Stage: Open -> Closing -> Cut
//!                        Migration: Settled -> Leaving -> Detached -> Settled
//! ```
//!
//! A driver owns the two streams. `pump` is the loop of a driver whose streams can be polled; it
//! needs a `Link` for each of them. One turn of it:
//!
//! 1. `begin`. A session that was cut is over here.
//! 2. For each direction: write the bytes of `output` until it is idle or the sink is full. Then
//!    read as many bytes as `read_allowance` permits, behind the `carry`, and pass them to
//!    `receive`. The answer is how many bytes at the front of the chunk go to the other side as
//!    they are: they are written from the buffer of the read. What the sink did not take goes back
//!    to the machine with `forwarded`, which stores it. In the common case all bytes are direct,
//!    and nothing is copied or allocated.
//! 3. `settle`. It returns a `Turn`, if the driver has to act.
//!
//! Between turns the driver calls `close`, `leave`, `attach`, `send_message` and the like, and
//! `expire` when `due` has come; `turn_needed` is whether another turn is needed then.
//!
//! A completion-based driver (io_uring) calls the same methods without `pump`.
//! A driver whose streams are not sockets (TLS records, HTTP/2 streams, memory) is another `Link`.
//!
//! *Invariants*
//! - Payload of data frames is never changed (I10). Only headers are read, but for the code of a
//!   close frame, the pong to a ping of the gateway's own, and messages for the gateway.
//! - Nothing follows a close frame towards a side: `Direction::closed` is never reset.
//! - A source is read only while its sink has taken everything or bytes are held for the next sink,
//!   within a bound (I8).
//! - The client gets whole messages of one backend before any of the next.

mod backlog;
mod buffer;
mod close_filter;
mod direction;
mod event_client;
mod hold;
mod injected;
mod limit;
mod liveness;
mod local_backend;
mod machine;
mod migration;
mod outbound_queue;
pub mod pump;
mod round_trip;
mod setup;
mod side;
mod stage;
mod state;
mod tap;
mod throttle;

pub use buffer::ReadBuffer;
pub use direction::{Entropy, Output};
pub use event_client::{EventClient, event_bytes_max, event_frame, gap_frame};
pub use liveness::Keepalive;
pub use local_backend::{ClientMessage, LocalBackend};
pub use machine::{Chunk, Machine, OwnState, Turn, Unsent, client_frame};
pub use outbound_queue::{LostCounts, QueueBounds, WhenFull};
pub use setup::{Setup, Times, Warning};
pub use side::{SendQueue, Side};
pub use stage::LastFrames;
pub use state::{RelayState, Unsound};
pub use tap::{FrameObserver, FrameSeen};
pub use throttle::Throttle;

#[cfg(test)]
pub(crate) mod tests;
