//! Messages with attachments and descriptors over a unix stream socket. Receiving can be dropped at
//! any await and taken up again.

use std::fmt;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, Shutdown, recvmsg, sendmsg, shutdown,
};
use rustix::process::geteuid;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncWriteExt, Interest};
use tokio::net::UnixStream;
use zeroize::Zeroizing;

/// `SSH1`, then the lengths of message and attachment, and the count of descriptors.
const HEADER: usize = 16;
const MAGIC: [u8; 4] = *b"SSH1";
/// Bytes of a message.
pub const MESSAGE_MAX: usize = 64 * 1024;
/// Bytes of an attachment: a session's state, what it holds for its two sides included.
pub(super) const ATTACHMENT_MAX: usize = 32 * 1024 * 1024;
/// Bytes of a session's state: its TLS states, which are small, come behind it.
pub const SESSION_STATE_MAX: usize = ATTACHMENT_MAX - (1 << 20);
/// Descriptors beside one message.
const DESCRIPTORS_MAX: usize = 2;
/// Bytes asked for at once.
const READ: usize = 64 * 1024;

/// The other process does not do what it should.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// The peer has closed its end, or the system reports an error.
    #[error("the connection broke: {0}")]
    Broken(#[from] io::Error),
    /// It is no hand-over that is spoken.
    #[error("the received data is not a hand-over message")]
    NotOurs,
    /// A bound is exceeded.
    #[error("a message with {0} is too big")]
    TooBig(String),
    /// It is of a version that this one does not know.
    #[error("cannot parse a message: {0}")]
    NotUnderstood(#[from] serde_json::Error),
    /// The wrong number of them.
    #[error("{came} descriptors came with a message that has {announced}")]
    Descriptors {
        /// By the header.
        announced: usize,
        /// By the system.
        came: usize,
    },
    /// The other process belongs to another user.
    #[error("the other process runs as uid {0}, which is neither this process's user nor root")]
    Stranger(u32),
}

/// A message that arrived.
pub struct Message<T> {
    /// Its content.
    pub content: T,
    /// Empty with most. Zeroised when dropped, since it may hold keys.
    pub attachment: Zeroizing<Vec<u8>>,
    /// In the order in which they were sent.
    pub descriptors: Vec<OwnedFd>,
}

impl<T: fmt::Debug> fmt::Debug for Message<T> {
    /// Without the attachment, which may hold keys (I11).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Message")
            .field("content", &self.content)
            .field("descriptors", &self.descriptors)
            .finish_non_exhaustive()
    }
}

/// A connection between the two processes.
pub struct Wire {
    stream: UnixStream,
    inbox: Zeroizing<Vec<u8>>,
    descriptors: Vec<OwnedFd>,
}

impl fmt::Debug for Wire {
    /// Without what came of a message (I11).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wire").finish_non_exhaustive()
    }
}

impl Wire {
    /// Takes a connection to a process of the same user or of root's.
    ///
    /// # Errors
    /// When the other process belongs to another user, or the system does not report its user.
    pub fn new(stream: UnixStream) -> Result<Self, WireError> {
        let other = stream.peer_cred()?.uid();
        if other != geteuid().as_raw() && other != 0 {
            return Err(WireError::Stranger(other));
        }
        Ok(Self {
            stream,
            inbox: Zeroizing::default(),
            descriptors: Vec::new(),
        })
    }

    /// The process at the other end.
    pub fn peer_pid(&self) -> Option<u32> {
        let pid = self.stream.peer_cred().ok()?.pid()?;
        u32::try_from(pid).ok()
    }

    /// Sends a message without attachment. Once this answers `Ok`, the message is in the other
    /// process' queue, which reads it even if this process dies.
    ///
    /// # Errors
    /// When the other end is closed, or receives nothing more.
    pub async fn send_message(&mut self, content: &impl Serialize) -> Result<(), WireError> {
        self.send(content, &[], &[]).await
    }

    /// Sends a message with an attachment in parts, which are not copied. A future that is dropped
    /// leaves the connection unusable.
    ///
    /// # Errors
    /// When the other end is closed, or the message exceeds a bound.
    pub async fn send(
        &mut self,
        content: &impl Serialize,
        attachment: &[&[u8]],
        descriptors: &[BorrowedFd<'_>],
    ) -> Result<(), WireError> {
        let content = serde_json::to_vec(content)?;
        let attached = attachment.iter().map(|part| part.len()).sum();
        check(content.len(), attached, descriptors.len())?;
        let mut frame = Vec::with_capacity(HEADER + content.len());
        frame.extend(MAGIC);
        for length in [content.len(), attached, descriptors.len()] {
            frame.extend(u32::try_from(length).expect("checked").to_be_bytes());
        }
        frame.extend(content);
        let sent = self
            .stream
            .async_io(Interest::WRITABLE, || {
                let mut space =
                    [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
                let mut control = SendAncillaryBuffer::new(&mut space);
                if !descriptors.is_empty() {
                    control.push(SendAncillaryMessage::ScmRights(descriptors));
                }
                let bytes = [IoSlice::new(&frame)];
                Ok(sendmsg(
                    &self.stream,
                    &bytes,
                    &mut control,
                    SendFlags::NOSIGNAL,
                )?)
            })
            .await?;
        self.stream.write_all(&frame[sent..]).await?;
        for part in attachment {
            self.stream.write_all(part).await?;
        }
        Ok(())
    }

    /// The next message; `None` once the other end is closed and everything has been read.
    ///
    /// # Errors
    /// When what comes is no message, or the connection breaks inside one.
    pub async fn receive<T: DeserializeOwned>(&mut self) -> Result<Option<Message<T>>, WireError> {
        loop {
            let wanted = match self.lengths()? {
                Some((content, attachment, descriptors)) => {
                    let whole = HEADER + content + attachment;
                    // Grown once, so that no copy of an attachment is left behind.
                    let came = self.inbox.len();
                    self.inbox.reserve_exact(whole - came);
                    if self.inbox.len() == whole {
                        return self.take(content, descriptors).map(Some);
                    }
                    whole
                }
                None => HEADER,
            };
            if self.read(wanted - self.inbox.len()).await? == 0 {
                if self.inbox.is_empty() {
                    return Ok(None);
                }
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
        }
    }

    /// From now on the other process can send nothing more; what it has sent can still be received.
    ///
    /// # Errors
    /// When the connection is closed already, at both ends.
    pub fn shut_receiving(&self) -> Result<(), WireError> {
        shutdown(self.stream.as_fd(), Shutdown::Read)
            .map_err(|error| WireError::Broken(error.into()))
    }

    /// The lengths of message and attachment and the count of descriptors, once they are there.
    fn lengths(&self) -> Result<Option<(usize, usize, usize)>, WireError> {
        let Some(header) = self.inbox.first_chunk::<HEADER>() else {
            return Ok(None);
        };
        if header[..4] != MAGIC {
            return Err(WireError::NotOurs);
        }
        let number = |at: usize| {
            let bytes = header[at..at + 4].try_into().expect("four bytes");
            u32::from_be_bytes(bytes) as usize
        };
        let lengths = (number(4), number(8), number(12));
        check(lengths.0, lengths.1, lengths.2)?;
        Ok(Some(lengths))
    }

    fn take<T: DeserializeOwned>(
        &mut self,
        content: usize,
        descriptors: usize,
    ) -> Result<Message<T>, WireError> {
        let mut bytes = std::mem::take(&mut self.inbox);
        let came = std::mem::take(&mut self.descriptors);
        if came.len() != descriptors {
            return Err(WireError::Descriptors {
                announced: descriptors,
                came: came.len(),
            });
        }
        let attachment = Zeroizing::new(bytes.split_off(HEADER + content));
        Ok(Message {
            content: serde_json::from_slice(&bytes[HEADER..])?,
            attachment,
            descriptors: came,
        })
    }

    /// Reads at most this many bytes, so that descriptors are never those of the next message.
    async fn read(&mut self, wanted: usize) -> io::Result<usize> {
        let Self {
            stream,
            inbox,
            descriptors,
        } = self;
        let from = inbox.len();
        stream
            .async_io(Interest::READABLE, || {
                let mut space =
                    [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
                let mut control = RecvAncillaryBuffer::new(&mut space);
                inbox.resize(from + wanted.min(READ), 0);
                let mut bytes = [IoSliceMut::new(&mut inbox[from..])];
                let received = recvmsg(&*stream, &mut bytes, &mut control, RecvFlags::CMSG_CLOEXEC);
                let count = received.as_ref().map_or(0, |received| received.bytes);
                inbox.truncate(from + count);
                received?;
                for message in control.drain() {
                    if let RecvAncillaryMessage::ScmRights(came) = message {
                        descriptors.extend(came);
                    }
                }
                Ok(count)
            })
            .await
    }
}

fn check(content: usize, attachment: usize, descriptors: usize) -> Result<(), WireError> {
    let too_big = if content > MESSAGE_MAX {
        format!("{content} bytes")
    } else if attachment > ATTACHMENT_MAX {
        format!("an attachment of {attachment} bytes")
    } else if descriptors > DESCRIPTORS_MAX {
        format!("{descriptors} descriptors")
    } else {
        return Ok(());
    };
    Err(WireError::TooBig(too_big))
}
