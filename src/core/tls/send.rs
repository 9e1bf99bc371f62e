//! Sealing records.

use aws_lc_rs::aead::Aad;

use crate::core::tls::DATA_MAX;
use crate::core::tls::alert;
use crate::core::tls::connection::{Half, Owed, Turn};
use crate::core::tls::error::{RecordError, SendError};
use crate::core::tls::header::{
    self, ALERT, APPLICATION_DATA, EXPLICIT_NONCE, HANDSHAKE, HEADER, TAG,
};
use crate::core::tls::keys;
use crate::core::tls::messages::KEY_UPDATE_MESSAGE;
use crate::core::tls::suite::Version;

impl Turn<'_> {
    /// Appends to `out` a record with as much of `data` as one holds, behind everything that is
    /// owed; returns how much that is.
    ///
    /// # Errors
    /// When the half has ended.
    pub fn send(&mut self, data: &[u8], out: &mut Vec<u8>) -> Result<usize, SendError> {
        self.answer(out)?;
        let some = &data[..data.len().min(DATA_MAX)];
        self.seal(APPLICATION_DATA, some, out);
        Ok(some.len())
    }

    /// Appends what is owed to the peer, and a new key where the old one has done its work.
    ///
    /// # Errors
    /// When the half has ended, or has to end because its key has done its work.
    pub fn answer(&mut self, out: &mut Vec<u8>) -> Result<(), SendError> {
        if self.connection.sending != Half::Open {
            return Err(SendError::Ended);
        }
        let owed = std::mem::take(&mut self.connection.owed);
        let Owed {
            update,
            no_renegotiation,
        } = owed;
        if no_renegotiation {
            self.seal(ALERT, &[alert::WARNING, alert::NO_RENEGOTIATION], out);
        }
        let worn = self.connection.send.sequence() >= self.connection.suite.records_max() - 1;
        if worn && self.connection.version == Version::V1_2 {
            self.end(alert::FATAL, alert::INTERNAL_ERROR, Half::Failed, out);
            return Err(SendError::Exhausted);
        }
        if update || worn {
            // The last record of the old key (RFC 8446, section 4.6.3).
            self.seal(HANDSHAKE, &KEY_UPDATE_MESSAGE, out);
            self.update_sending();
        }
        Ok(())
    }

    /// Appends `close_notify`, once: nothing follows it.
    pub fn close(&mut self, out: &mut Vec<u8>) {
        if self.connection.sending == Half::Open {
            self.end(alert::WARNING, alert::CLOSE_NOTIFY, Half::Closed, out);
        }
    }

    /// Ends both halves because of an error of the peer's.
    pub(super) fn fail(&mut self, error: RecordError) {
        if let (Half::Open, Some(description)) = (self.connection.sending, error.alert()) {
            let mut out = std::mem::take(&mut self.connection.unsent);
            self.end(alert::FATAL, description, Half::Failed, &mut out);
            self.connection.unsent = out;
        }
        self.connection.sending = Half::Failed;
        self.connection.receiving = Half::Failed;
        self.connection.error = Some(error);
    }

    fn end(&mut self, level: u8, description: u8, half: Half, out: &mut Vec<u8>) {
        self.connection.owed = Owed::default();
        self.seal(ALERT, &[level, description], out);
        self.connection.sending = half;
    }

    /// Appends one record.
    pub(super) fn seal(&mut self, kind: u8, content: &[u8], out: &mut Vec<u8>) {
        // Before it is used: whatever happens from here on, no other record gets this number.
        let number = self.connection.send.advance();
        match self.connection.version {
            Version::V1_3 => self.seal_1_3(number, kind, content, out),
            Version::V1_2 => self.seal_1_2(number, kind, content, out),
        }
    }

    /// RFC 8446, section 5.2. Without padding.
    fn seal_1_3(&mut self, number: u64, kind: u8, content: &[u8], out: &mut Vec<u8>) {
        let nonce = keys::nonce(self.connection.send.nonce(number));
        let head = header::write(APPLICATION_DATA, content.len() + 1 + TAG);
        out.extend_from_slice(&head);
        let begin = out.len();
        out.resize(begin + content.len() + 1 + TAG, 0);
        let (sealed, rest) = out[begin..].split_at_mut(content.len());
        let context = self.sealing();
        let done = context.seal_out_of_place_scatter(
            nonce,
            Aad::from(head),
            content,
            sealed,
            &[kind],
            rest,
        );
        done.expect("the lengths fit");
    }

    /// RFC 5246, section 6.2.3.3. With AES-GCM the explicit part of the nonce is the first one that
    /// rustls chose, XOR the number of the record.
    fn seal_1_2(&mut self, number: u64, kind: u8, content: &[u8], out: &mut Vec<u8>) {
        let nonce = self.connection.send.nonce(number);
        let explicit = match self.connection.suite.has_explicit_nonce() {
            true => &nonce[nonce.len() - EXPLICIT_NONCE..],
            false => &[],
        };
        let head = header::write(kind, explicit.len() + content.len() + TAG);
        debug_assert_eq!(head.len(), HEADER);
        out.extend_from_slice(&head);
        out.extend_from_slice(explicit);
        let begin = out.len();
        out.resize(begin + content.len() + TAG, 0);
        let (sealed, tag) = out[begin..].split_at_mut(content.len());
        let additional = keys::additional(number, kind, content.len());
        let nonce = keys::nonce(nonce);
        let context = self.sealing();
        let done = context.seal_out_of_place_scatter(nonce, additional, content, sealed, &[], tag);
        done.expect("the lengths fit");
    }
}
