//! Close frames of a backend that are not forwarded, because another backend may take its place.

/// Which close frames of a backend are for the gateway instead of the client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum CloseFilter {
    /// None: all are forwarded.
    #[default]
    Off,
    /// Those of a backend that is going away (1001, 1012).
    GoingAway,
    /// Those, and what may be an answer to the gateway's own close frame.
    Answers,
}

impl CloseFilter {
    /// Whether a close frame with this code is withheld from the client.
    pub(super) fn withholds(self, code: Option<u16>) -> bool {
        match self {
            Self::Off => false,
            Self::GoingAway => matches!(code, Some(1001 | 1012)),
            Self::Answers => matches!(code, None | Some(1000 | 1001 | 1005 | 1012)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_codes_without_a_message_for_the_client_are_withheld() {
        let check = |filter: CloseFilter, withheld: &[u16], none: bool| {
            for code in [1000, 1001, 1002, 1005, 1008, 1011, 1012, 1013, 3000, 4001] {
                assert_eq!(
                    filter.withholds(Some(code)),
                    withheld.contains(&code),
                    "{filter:?} {code}"
                );
            }
            assert_eq!(filter.withholds(None), none, "{filter:?}");
        };
        check(CloseFilter::Off, &[], false);
        check(CloseFilter::GoingAway, &[1001, 1012], false);
        check(CloseFilter::Answers, &[1000, 1001, 1005, 1012], true);
    }
}
