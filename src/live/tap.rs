//! A tap on a session, from the worker that has it to the operator who watches.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use tokio::sync::mpsc;

use crate::base::clock;
use crate::core::relay::{FrameObserver, FrameSeen, Side};

/// Frames that wait for the operator; more are dropped and counted.
const FRAMES_MAX: usize = 256;

/// A frame, as the operator sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TappedFrame {
    /// When it came.
    pub at: SystemTime,
    /// Who sent it.
    pub from: Side,
    /// Its opcode, known or not.
    pub opcode: u8,
    /// Whether it ends its message.
    pub fin: bool,
    /// Its reserved bits.
    pub reserved: u8,
    /// Bytes of its payload.
    pub bytes: u64,
    /// The first bytes of its payload, if they are shown.
    pub payload: Option<Box<[u8]>>,
    /// The payload holds a credential.
    pub withheld: bool,
}

/// What both ends of a tap see.
#[derive(Debug, Default)]
struct Shared {
    dropped: AtomicU64,
    reason: OnceLock<&'static str>,
}

/// The worker's end of a tap. It never waits: a frame for which there is no room is counted.
#[derive(Debug)]
pub struct TapReporter {
    frames: mpsc::Sender<TappedFrame>,
    shared: Arc<Shared>,
}

/// The operator's end of a tap. The tap ends when this is dropped.
#[derive(Debug)]
pub struct TapReader {
    frames: mpsc::Receiver<TappedFrame>,
    shared: Arc<Shared>,
}

/// What became of an order to tap a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TapAnswer {
    /// Frames will come.
    Begun,
    /// Another operator watches.
    Tapped,
    /// Its end has begun, or another process gets it.
    Ending,
}

/// Both ends of a tap.
pub fn tap() -> (TapReporter, TapReader) {
    let (sender, frames) = mpsc::channel(FRAMES_MAX);
    let shared = Arc::<Shared>::default();
    let reporter = TapReporter {
        frames: sender,
        shared: Arc::clone(&shared),
    };
    (reporter, TapReader { frames, shared })
}

impl FrameObserver for TapReporter {
    fn frame(&mut self, frame: FrameSeen<'_>) -> bool {
        let frame = TappedFrame {
            at: clock::wall(),
            from: frame.from,
            opcode: frame.opcode,
            fin: frame.fin,
            reserved: frame.reserved,
            bytes: frame.bytes,
            payload: frame.payload.map(Into::into),
            withheld: frame.withheld,
        };
        match self.frames.try_send(frame) {
            Ok(()) => true,
            Err(mpsc::error::TrySendError::Full(_)) => {
                self.shared.dropped.fetch_add(1, Ordering::Relaxed);
                true
            }
            Err(mpsc::error::TrySendError::Closed(_)) => false,
        }
    }

    fn is_closed(&self) -> bool {
        self.frames.is_closed()
    }

    fn ended(&mut self, reason: &'static str) {
        // Only the first reason counts.
        let _ = self.shared.reason.set(reason);
    }
}

impl TapReader {
    /// The next frame; `None` when no more will come.
    pub async fn next(&mut self) -> Option<TappedFrame> {
        self.frames.recv().await
    }

    /// How many frames were dropped since the last call.
    pub fn take_dropped(&self) -> u64 {
        self.shared.dropped.swap(0, Ordering::Relaxed)
    }

    /// Why no more will come.
    pub fn reason(&self) -> &'static str {
        self.shared.reason.get().unwrap_or(&"the session ended")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame() -> FrameSeen<'static> {
        FrameSeen {
            from: Side::Client,
            opcode: 1,
            fin: true,
            reserved: 0,
            bytes: 2,
            payload: Some(b"hi"),
            withheld: false,
        }
    }

    #[tokio::test]
    async fn i8_a_slow_reader_loses_frames_and_hears_how_many() {
        let (mut reporter, mut reader) = tap();
        for _ in 0..FRAMES_MAX + 5 {
            assert!(reporter.frame(frame()), "it goes on");
        }
        assert_eq!((reader.take_dropped(), reader.take_dropped()), (5, 0));
        reporter.ended("one reason");
        reporter.ended("another");
        drop(reporter);
        let mut count = 0;
        while let Some(frame) = reader.next().await {
            assert_eq!(frame.payload.as_deref(), Some(&b"hi"[..]));
            count += 1;
        }
        assert_eq!((count, reader.reason()), (FRAMES_MAX, "one reason"));
    }

    #[tokio::test]
    async fn a_reader_that_is_gone_ends_the_tap() {
        let (mut reporter, reader) = tap();
        assert!(reporter.frame(frame()) && !reporter.is_closed());
        assert_eq!(reader.reason(), "the session ended");
        drop(reader);
        assert!(reporter.is_closed() && !reporter.frame(frame()));
    }
}
