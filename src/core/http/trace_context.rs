//! W3C Trace Context: how `traceparent` is read, and how it is passed on. What a client sends is
//! bounded by its form: two hexadecimal numbers and a byte of flags.

use http::{HeaderMap, HeaderName, HeaderValue};

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");
/// `00-` and 32 digits, 16 digits, 2 digits, with `-` between them.
const LENGTH: usize = 55;
/// Bytes of `tracestate` that are passed on; vendors have to get along with 512.
const STATE_BYTES_MAX: usize = 4 * 1024;
const SAMPLED: u8 = 1;

/// The place of a span in a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceContext {
    /// The trace; not zero.
    pub trace: u128,
    /// The span; not zero.
    pub span: u64,
    /// Whether the trace is recorded.
    pub sampled: bool,
}

impl TraceContext {
    /// What the client sent, if it is well-formed. A field that comes twice is not.
    pub fn read(fields: &HeaderMap) -> Option<Self> {
        let mut sent = fields.get_all(TRACEPARENT).iter();
        let (only, None) = (sent.next()?, sent.next()) else {
            return None;
        };
        let text = only.to_str().ok()?;
        // A later version may add fields behind another `-`; version 255 is invalid.
        let rest = text.get(LENGTH..)?;
        let version = hexadecimal(&text[..2])?;
        let is_form = match version {
            0 => rest.is_empty(),
            255 => false,
            _ => rest.is_empty() || rest.starts_with('-'),
        };
        let dashes = [2, 35, 52].iter().all(|at| text.as_bytes()[*at] == b'-');
        if !is_form || !dashes {
            return None;
        }
        let trace = hexadecimal(&text[3..35])?;
        let span = u64::try_from(hexadecimal(&text[36..52])?).ok()?;
        let flags = u8::try_from(hexadecimal(&text[53..55])?).ok()?;
        (trace != 0 && span != 0).then_some(Self {
            trace,
            span,
            sampled: flags & SAMPLED != 0,
        })
    }

    /// Puts this place into a request, which continues a trace of its client or begins one.
    /// `tracestate` belongs to the client's trace and goes with it.
    pub fn write(self, fields: &mut HeaderMap, continues: bool) {
        let flags = u8::from(self.sampled);
        let text = format!("00-{:032x}-{:016x}-{flags:02x}", self.trace, self.span);
        let value = HeaderValue::from_str(&text).expect("digits and dashes");
        fields.insert(TRACEPARENT, value);
        let states = fields.get_all(TRACESTATE).iter();
        let bytes: usize = states.map(HeaderValue::len).sum();
        if !continues || bytes > STATE_BYTES_MAX {
            fields.remove(TRACESTATE);
        }
    }
}

/// The number that these lower-case digits are; at most 32 of them.
fn hexadecimal(digits: &str) -> Option<u128> {
    let mut number = 0;
    for digit in digits.bytes() {
        let value = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        number = number << 4 | u128::from(value);
    }
    Some(number)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GOOD: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn read(values: &[&str]) -> Option<TraceContext> {
        let mut fields = HeaderMap::new();
        for value in values {
            let value = HeaderValue::from_bytes(value.as_bytes()).expect("a value");
            fields.append(TRACEPARENT, value);
        }
        TraceContext::read(&fields)
    }

    #[test]
    fn only_well_formed_contexts_are_read() {
        let good = TraceContext {
            trace: 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c,
            span: 0xb7ad_6b71_6920_3331,
            sampled: true,
        };
        assert_eq!(read(&[GOOD]), Some(good));
        let unsampled = TraceContext {
            sampled: false,
            ..good
        };
        assert_eq!(read(&[&GOOD.replace("-01", "-02")]), Some(unsampled));
        assert_eq!(read(&[&GOOD.replacen("00", "cc", 1)]), Some(good));
        let longer = GOOD.replacen("00", "01", 1) + "-what.the.future";
        assert_eq!(read(&[&longer]), Some(good));
        for bad in [
            "",
            "00",
            &GOOD[..54],
            &format!("{GOOD}-"),
            &format!("{GOOD}0"),
            &(GOOD.replacen("00", "01", 1) + "0"),
            &GOOD.replacen("00", "ff", 1),
            &GOOD.replace("0af7", "0AF7"),
            &GOOD.replace("0af7", "0xf7"),
            &GOOD.replace("-b7ad", "_b7ad"),
            &GOOD.replace("0af7651916cd43dd8448eb211c80319c", &"0".repeat(32)),
            &GOOD.replace("b7ad6b7169203331", &"0".repeat(16)),
            &format!(" {GOOD}"),
            &"é".repeat(28),
        ] {
            assert_eq!(read(&[bad]), None, "{bad}");
        }
        assert_eq!(read(&[GOOD, GOOD]), None, "twice");
        assert_eq!(read(&[]), None);
    }

    #[test]
    fn the_state_of_a_vendor_goes_with_its_trace_only() {
        let context = read(&[GOOD]).expect("a context");
        let check = |state: &str, continues, passed| {
            let mut fields = HeaderMap::new();
            fields.insert(TRACESTATE, state.parse().expect("a value"));
            context.write(&mut fields, continues);
            assert_eq!(fields[TRACEPARENT], GOOD);
            assert_eq!(fields.contains_key(TRACESTATE), passed);
        };
        check("vendor=1", true, true);
        check("vendor=1", false, false);
        check(&"a".repeat(STATE_BYTES_MAX), true, true);
        check(&"a".repeat(STATE_BYTES_MAX + 1), true, false);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(trace in 1_u128.., span in 1_u64.., sampled: bool) {
            let context = TraceContext { trace, span, sampled };
            let mut fields = HeaderMap::new();
            context.write(&mut fields, true);
            prop_assert_eq!(TraceContext::read(&fields), Some(context));
        }

        #[test]
        fn no_text_breaks_the_reader(text in "[ -~é]{0,80}") {
            read(&[&text]);
        }
    }
}
