//! The loop of a driver whose streams are polled: reads, writes, and lets the machine decide.

use std::io;
use std::task::Poll;

use crate::core::relay::buffer::ReadBuffer;
use crate::core::relay::direction::Output;
use crate::core::relay::machine::{Machine, Turn};
use crate::core::relay::side::Side;
use crate::core::session::wheel::Tick;

/// Reads from one side in one turn; then other sessions of the worker get theirs.
const READS_PER_TURN: u32 = 16;

/// A stream to one side. `Pending` means that the driver is woken when it is worth trying again.
pub trait Link {
    /// Reads some bytes; 0 is the orderly end of the stream.
    fn read(&mut self, buffer: &mut [u8]) -> Poll<io::Result<usize>>;
    /// Writes some bytes; 0 means that the stream takes nothing any more.
    fn write(&mut self, bytes: &[u8]) -> Poll<io::Result<usize>>;
    /// Brings what was written on its way.
    fn flush(&mut self) -> Poll<io::Result<()>>;
    /// Ends the sending half.
    fn finish(&mut self) -> Poll<io::Result<()>>;
}

/// The outcome of a turn of the pump.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pumped {
    /// The driver has to act.
    Turn(Turn),
    /// There is more to move. Other sessions get their turn first.
    Again,
    /// Nothing can be moved until a stream is ready.
    Idle,
}

/// How far one direction came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pass {
    /// Its streams are not ready, or the source must not be read.
    Blocked,
    /// Something happened that has to be settled.
    Settle,
    /// It had its share of the turn.
    Spent,
}

/// Moves everything that can be moved.
pub fn turn<L: Link>(
    machine: &mut Machine,
    client: &mut L,
    mut backend: Option<&mut L>,
    buffer: &mut ReadBuffer,
    now: Tick,
) -> Pumped {
    loop {
        if let Some(turn) = machine.begin(now) {
            return Pumped::Turn(turn);
        }
        let sink = backend.as_deref_mut();
        let up = pass(machine, Side::Client, Some(client), sink, buffer, now);
        let source = backend.as_deref_mut();
        let down = pass(machine, Side::Backend, source, Some(client), buffer, now);
        if let Some(turn) = machine.settle(now) {
            return Pumped::Turn(turn);
        }
        if up == Pass::Spent || down == Pass::Spent {
            return Pumped::Again;
        }
        if up == Pass::Blocked && down == Pass::Blocked {
            return Pumped::Idle;
        }
    }
}

/// Moves what one side sends to the other.
fn pass<L: Link>(
    machine: &mut Machine,
    from: Side,
    mut source: Option<&mut L>,
    mut sink: Option<&mut L>,
    buffer: &mut ReadBuffer,
    now: Tick,
) -> Pass {
    let to = from.other();
    for _ in 0..READS_PER_TURN {
        if let Some(sink) = sink.as_deref_mut()
            && !send(machine, to, sink, now)
        {
            return Pass::Settle;
        }
        let Some(source) = source.as_deref_mut() else {
            return Pass::Blocked;
        };
        let Some(room) = machine.read_allowance(from, buffer.capacity(), now) else {
            return Pass::Blocked;
        };
        let space = buffer.prepare(machine.carry(from), room);
        let read = match source.read(space) {
            Poll::Pending => return Pass::Blocked,
            Poll::Ready(Ok(read @ 1..)) => read,
            Poll::Ready(ended) => {
                machine.source_ended(from, ended.is_err(), now);
                return Pass::Settle;
            }
        };
        let bytes = buffer.chunk(read);
        let chunk = machine.receive(from, bytes);
        let direct = &bytes[..chunk.direct()];
        let (written, failed) = sink
            .as_deref_mut()
            .map_or((0, false), |sink| write(sink, direct));
        if machine.forwarded(from, (chunk, bytes), written, failed, now) {
            return Pass::Settle;
        }
    }
    Pass::Spent
}

/// Writes what waits for a side. Returns whether its stream lives.
#[inline]
pub fn send<L: Link>(machine: &mut Machine, to: Side, sink: &mut L, now: Tick) -> bool {
    loop {
        let result = match machine.output(to) {
            Output::Idle => return true,
            Output::Write(bytes) => match sink.write(bytes) {
                Poll::Ready(Ok(written @ 1..)) => {
                    machine.wrote(to, written);
                    continue;
                }
                Poll::Ready(Ok(_)) => Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
                Poll::Pending => Poll::Pending,
            },
            Output::Flush => sink.flush().map_ok(|()| machine.flushed(to)),
            // A peer that is gone needs no orderly end.
            Output::Finish => sink.finish().map(|_| {
                machine.finished(to);
                Ok(())
            }),
        };
        match result {
            Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(_)) => {
                machine.sink_failed(to, now);
                return false;
            }
            Poll::Pending => return true,
        }
    }
}

/// Writes bytes as long as they are taken. Returns how many were, and whether the stream failed.
#[inline]
fn write<L: Link>(sink: &mut L, bytes: &[u8]) -> (usize, bool) {
    let mut written = 0;
    while written < bytes.len() {
        match sink.write(&bytes[written..]) {
            Poll::Ready(Ok(some @ 1..)) => written += some,
            Poll::Ready(Ok(_) | Err(_)) => return (written, true),
            Poll::Pending => break,
        }
    }
    (written, false)
}
