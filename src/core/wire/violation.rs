//! What a sender of frames can do wrong, and the close code for it.

/// A violation of the protocol, or of a bound that the operator set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// RFC 6455, section 5.2.
    #[error("reserved bit set without an extension")]
    ReservedBit,
    /// RFC 6455, section 5.2.
    #[error("unknown opcode")]
    UnknownOpcode,
    /// RFC 6455, section 5.1.
    #[error("frame of a client without mask")]
    Unmasked,
    /// RFC 6455, section 5.1.
    #[error("frame of a server with mask")]
    Masked,
    /// RFC 6455, section 5.5.
    #[error("control frame fragmented")]
    ControlFragmented,
    /// RFC 6455, section 5.5.
    #[error("control frame longer than 125 bytes")]
    ControlTooLong,
    /// RFC 6455, section 5.5.1.
    #[error("close frame with half a code")]
    CloseTooShort,
    /// RFC 6455, section 5.4.
    #[error("continuation without a message")]
    NothingToContinue,
    /// RFC 6455, section 5.4.
    #[error("new message inside a message")]
    MessageInsideMessage,
    /// RFC 6455, section 5.2.
    #[error("frame length beyond 63 bits")]
    LengthOverflow,
    /// RFC 6455, section 5.2.
    #[error("frame length not in its shortest form")]
    LengthNotShortest,
    /// The operator's bound.
    #[error("frame too big")]
    FrameTooBig,
    /// The operator's bound.
    #[error("message too big")]
    MessageTooBig,
    /// A message for the gateway itself must be one frame.
    #[error("renewal in fragments")]
    InBandFragmented,
    /// The operator's bound on messages for the gateway itself.
    #[error("renewal too long")]
    InBandTooLong,
}

impl Violation {
    /// 1009 for frames and messages that are too big, 1008 for a renewal in a form that the gateway
    /// does not accept, 1002 for protocol errors (RFC 6455, section 7.4.1).
    pub const fn close_code(self) -> u16 {
        match self {
            Self::FrameTooBig | Self::MessageTooBig | Self::InBandTooLong => 1009,
            Self::InBandFragmented => 1008,
            _ => 1002,
        }
    }
}
