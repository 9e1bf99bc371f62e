//! What the thread of an output does about failures: they are counted, reported once, and never
//! stop it.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// An output whose failed lines are counted as lost. Each call of `write` has one whole line.
pub(super) struct Counted<W> {
    output: W,
    /// For the log.
    name: String,
    lost: Arc<AtomicU64>,
    failing: bool,
}

impl<W: Write> Counted<W> {
    pub(super) fn new(output: W, name: String, lost: Arc<AtomicU64>) -> Self {
        Self {
            output,
            name,
            lost,
            failing: false,
        }
    }
}

impl<W: Write> Write for Counted<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        match self.output.write_all(line) {
            Ok(()) if self.failing => {
                self.failing = false;
                tracing::info!(output = %self.name, "records are written again");
            }
            Ok(()) => {}
            Err(error) => {
                self.lost.fetch_add(1, Ordering::Relaxed);
                if !self.failing {
                    self.failing = true;
                    tracing::error!(output = %self.name, %error, "records are lost");
                }
            }
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.output.flush()
    }
}
