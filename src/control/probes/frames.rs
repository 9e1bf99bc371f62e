//! The gateway's end of a probe's WebSocket. Messages of any length are read and not stored: a
//! message that the relay passes must not fail a probe.

use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use crate::control::probes::fault::{Doing, ProbeFault};
use crate::core::wire::frame::{self, CONTROL_PAYLOAD_MAX, FrameHeader, Opcode};
use crate::core::wire::violation::Violation;

/// Read at once.
const READ_BYTES: usize = 16 * 1024;
/// A backend that sends more than this before the pong fails the probe.
const BYTES_MAX: u64 = 64 << 20;

/// What came next.
#[derive(Debug)]
pub(super) enum Event {
    /// A part of a message, maybe empty, and whether it is the last one.
    Part(BytesMut, bool),
    /// A pong with this payload.
    Pong(BytesMut),
    /// A close frame with this payload.
    Close(BytesMut),
}

/// A connection that carries frames.
#[derive(Debug)]
pub(super) struct Frames<S> {
    stream: S,
    read: BytesMut,
    total: u64,
    /// Remaining payload of the current data frame, and whether the frame ends its message.
    payload: Option<(u64, bool)>,
    /// A message has begun and not ended.
    inside: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Frames<S> {
    pub(super) fn new(stream: S) -> Self {
        Self {
            stream,
            read: BytesMut::new(),
            total: 0,
            payload: None,
            inside: false,
        }
    }

    pub(super) async fn text(&mut self, text: &str, doing: &Doing) -> Result<(), ProbeFault> {
        // A client's frames are masked; a key of zeros changes nothing (RFC 6455, section 5.3).
        let frame = frame::data_frame(Opcode::Text, text.as_bytes(), Some([0; 4]));
        self.send(&frame, doing).await
    }

    pub(super) async fn control(
        &mut self,
        opcode: Opcode,
        payload: &[u8],
        doing: &Doing,
    ) -> Result<(), ProbeFault> {
        let frame = frame::control_frame(opcode, payload, Some([0; 4]));
        self.send(&frame, doing).await
    }

    /// The next event. Pings are answered on the way.
    pub(super) async fn next(&mut self, doing: &Doing) -> Result<Event, ProbeFault> {
        loop {
            if let Some((left, last)) = self.payload {
                if left == 0 {
                    self.payload = None;
                    self.inside = !last;
                    return Ok(Event::Part(BytesMut::new(), last));
                }
                let here = usize::try_from(left)
                    .unwrap_or(usize::MAX)
                    .min(self.read.len());
                if here > 0 {
                    let part = self.read.split_to(here);
                    self.payload = Some((left - here as u64, last));
                    return Ok(Event::Part(part, false));
                }
            } else if let Some(header) = FrameHeader::parse(&self.read) {
                let broken = |source| ProbeFault::Frame {
                    doing: doing.clone(),
                    source,
                };
                let opcode = self.check_header(&header).map_err(broken)?;
                if !opcode.is_control() {
                    self.read.advance(header.len);
                    self.inside = true;
                    self.payload = Some((header.payload, header.fin));
                    continue;
                }
                let length = usize::try_from(header.payload).expect("125 at most");
                if self.read.len() >= header.len + length {
                    self.read.advance(header.len);
                    let payload = self.read.split_to(length);
                    match opcode {
                        Opcode::Ping => self.control(Opcode::Pong, &payload, doing).await?,
                        Opcode::Pong => return Ok(Event::Pong(payload)),
                        _ => return Ok(Event::Close(payload)),
                    }
                    continue;
                }
            }
            self.fill(doing).await?;
        }
    }

    /// What the relay would end a session for (RFC 6455, section 5), and nothing else.
    fn check_header(&self, header: &FrameHeader) -> Result<Opcode, Violation> {
        let opcode = header.opcode.ok_or(Violation::UnknownOpcode)?;
        if header.reserved != 0 {
            return Err(Violation::ReservedBit);
        }
        if header.mask.is_some() {
            return Err(Violation::Masked);
        }
        match opcode {
            Opcode::Continuation if !self.inside => Err(Violation::NothingToContinue),
            Opcode::Text | Opcode::Binary if self.inside => Err(Violation::MessageInsideMessage),
            _ if opcode.is_control() && !header.fin => Err(Violation::ControlFragmented),
            _ if opcode.is_control() && header.payload > CONTROL_PAYLOAD_MAX as u64 => {
                Err(Violation::ControlTooLong)
            }
            _ if header.payload > i64::MAX.cast_unsigned() => Err(Violation::LengthOverflow),
            _ => Ok(opcode),
        }
    }

    async fn fill(&mut self, doing: &Doing) -> Result<(), ProbeFault> {
        self.read.reserve(READ_BYTES);
        let read = self.stream.read_buf(&mut self.read).await;
        match read.map_err(|source| self.lost(source, doing))? {
            0 => Err(ProbeFault::Unclean {
                doing: doing.clone(),
            }),
            more => {
                self.total += more as u64;
                match self.total > BYTES_MAX {
                    true => Err(ProbeFault::Endless {
                        most: BYTES_MAX >> 20,
                        doing: doing.clone(),
                    }),
                    false => Ok(()),
                }
            }
        }
    }

    async fn send(&mut self, frame: &[u8], doing: &Doing) -> Result<(), ProbeFault> {
        let sent = self.stream.write_all(frame).await;
        let flushed = match sent {
            Ok(()) => self.stream.flush().await,
            failed => failed,
        };
        flushed.map_err(|source| self.lost(source, doing))
    }

    fn lost(&self, source: std::io::Error, doing: &Doing) -> ProbeFault {
        let doing = doing.clone();
        ProbeFault::Lost { doing, source }
    }
}
