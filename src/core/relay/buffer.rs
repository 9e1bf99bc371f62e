//! The buffer that a driver reads into. A worker has one for all its sessions; none keeps it.

use crate::core::wire::frame::HEADER_MAX;

/// Room in front of a read for the first bytes of a header that the last read ended in.
const CARRY_ROOM: usize = HEADER_MAX;

/// A read buffer that puts the carry of the last read in front of the next one without a copy of
/// the payload.
#[derive(Debug)]
pub struct ReadBuffer {
    bytes: Box<[u8]>,
    /// Where the carry of the prepared read begins.
    start: usize,
}

impl ReadBuffer {
    /// A buffer for reads of this many bytes.
    pub fn new(read_bytes: usize) -> Self {
        Self {
            bytes: vec![0; CARRY_ROOM + read_bytes].into_boxed_slice(),
            start: CARRY_ROOM,
        }
    }

    /// Bytes that one read can bring.
    pub fn capacity(&self) -> usize {
        self.bytes.len() - CARRY_ROOM
    }

    /// Puts the carry in place and returns `room` bytes behind it to read into.
    #[inline]
    pub fn prepare(&mut self, carry: &[u8], room: usize) -> &mut [u8] {
        self.start = CARRY_ROOM - carry.len();
        self.bytes[self.start..CARRY_ROOM].copy_from_slice(carry);
        &mut self.bytes[CARRY_ROOM..CARRY_ROOM + room]
    }

    /// The carry and the `read` bytes behind it.
    #[inline]
    pub fn chunk(&self, read: usize) -> &[u8] {
        &self.bytes[self.start..CARRY_ROOM + read]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_carry_stands_in_front_of_what_is_read() {
        let mut buffer = ReadBuffer::new(8);
        buffer.prepare(b"abc", 8)[..2].copy_from_slice(b"de");
        assert_eq!(buffer.chunk(2), b"abcde");
        buffer.prepare(b"", 3)[..3].copy_from_slice(b"xyz");
        assert_eq!(buffer.chunk(3), b"xyz");
    }

    #[test]
    fn a_read_has_no_more_room_than_was_asked_for() {
        let mut buffer = ReadBuffer::new(8);
        assert_eq!(buffer.capacity(), 8);
        assert_eq!(buffer.prepare(b"a", 5).len(), 5);
        assert_eq!(buffer.prepare(&[7; CARRY_ROOM], 8).len(), 8);
    }
}
