//! One step of a worker's clock.

use crate::base::clock;
use crate::io::tls::stream::drop_contexts;
use crate::proxy::session::registry::Sessions;

/// Ticks between sweeps of idle connections.
const SWEEP_EVERY: u32 = 50;

/// Advances the clock, ends sessions that are due, drops the ciphers' contexts of connections that
/// may be idle now, and sweeps idle connections from time to time. Returns whether further sessions
/// are due; `Sessions::expire` is called for them.
pub(crate) fn turn(sessions: &Sessions) -> bool {
    let worker = sessions.worker();
    let real = clock::now();
    let now = worker.clock.advance(real);
    let more_due = sessions.expire(now);
    drop_contexts();
    sessions.index.expire(real);
    if now.is_multiple_of(SWEEP_EVERY) {
        worker.pool.tidy(real);
        worker.service_clients.tidy();
        worker.functions.tidy();
    }
    more_due
}
