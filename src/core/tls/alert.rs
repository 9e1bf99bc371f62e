//! Alerts (RFC 8446, section 6).

/// `close_notify`.
pub(super) const CLOSE_NOTIFY: u8 = 0;
/// `unexpected_message`.
pub(super) const UNEXPECTED_MESSAGE: u8 = 10;
/// `bad_record_mac`.
pub(super) const BAD_RECORD_MAC: u8 = 20;
/// `record_overflow`.
pub(super) const RECORD_OVERFLOW: u8 = 22;
/// `illegal_parameter`.
pub(super) const ILLEGAL_PARAMETER: u8 = 47;
/// `decode_error`.
pub(super) const DECODE_ERROR: u8 = 50;
/// `protocol_version`.
pub(super) const PROTOCOL_VERSION: u8 = 70;
/// `internal_error`.
pub(super) const INTERNAL_ERROR: u8 = 80;
/// `user_canceled`.
pub(super) const USER_CANCELED: u8 = 90;
/// `no_renegotiation` (RFC 5246, section 7.2.2).
pub(super) const NO_RENEGOTIATION: u8 = 100;

/// The level of a warning.
pub(super) const WARNING: u8 = 1;
/// The level of an alert that ends the connection.
pub(super) const FATAL: u8 = 2;

/// The name of an alert, as the RFCs have it.
pub(super) const fn name(description: u8) -> &'static str {
    match description {
        0 => "close_notify",
        10 => "unexpected_message",
        20 => "bad_record_mac",
        21 => "decryption_failed",
        22 => "record_overflow",
        30 => "decompression_failure",
        40 => "handshake_failure",
        42 => "bad_certificate",
        43 => "unsupported_certificate",
        44 => "certificate_revoked",
        45 => "certificate_expired",
        46 => "certificate_unknown",
        47 => "illegal_parameter",
        48 => "unknown_ca",
        49 => "access_denied",
        50 => "decode_error",
        51 => "decrypt_error",
        70 => "protocol_version",
        71 => "insufficient_security",
        80 => "internal_error",
        86 => "inappropriate_fallback",
        90 => "user_canceled",
        100 => "no_renegotiation",
        109 => "missing_extension",
        110 => "unsupported_extension",
        112 => "unrecognized_name",
        113 => "bad_certificate_status_response",
        115 => "unknown_psk_identity",
        116 => "certificate_required",
        120 => "no_application_protocol",
        _ => "unknown alert",
    }
}
