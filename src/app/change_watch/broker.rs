//! The connection to the broker, and the events of its changes.

use crate::admin::Gateway;
use crate::telemetry::events::{Fields, Kind};

/// A kind of event, and what is known of it.
pub(super) type Change = (Kind, Fields);

/// How the broker is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum BrokerState {
    /// It carries messages.
    Connected,
    /// It carries none, for this reason.
    Lost(String),
}

/// `None` without a broker.
pub(super) fn state(gateway: &Gateway) -> Option<BrokerState> {
    let status = gateway.messages.as_ref()?.broker()?;
    Some(match status.connected {
        true => BrokerState::Connected,
        false => BrokerState::Lost(status.error.unwrap_or_else(|| "not reached yet".to_owned())),
    })
}

/// What changed. The reason of a loss may change with every attempt to connect; that is no event.
pub(super) fn change(before: Option<&BrokerState>, now: Option<&BrokerState>) -> Option<Change> {
    match (before, now?) {
        (None | Some(BrokerState::Lost(_)), BrokerState::Connected) => {
            let text = "published messages reach the sessions of all gateways";
            Some((Kind::BrokerConnected, Fields::new(text)))
        }
        (None | Some(BrokerState::Connected), BrokerState::Lost(why)) => {
            let text = format!("published messages reach this gateway's sessions only: {why}");
            let reason = Some(why.as_str().into());
            let fields = Fields {
                reason,
                ..Fields::new(text)
            };
            Some((Kind::BrokerLost, fields))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broker_that_goes_and_comes_is_an_event_each_time() {
        let lost = |why: &str| BrokerState::Lost(why.to_owned());
        let kind = |before: Option<&BrokerState>, now: Option<&BrokerState>| {
            change(before, now).map(|(kind, _)| kind)
        };
        let connected = BrokerState::Connected;
        let (one, other) = (lost("refused"), lost("timed out"));
        assert_eq!(kind(None, Some(&one)), Some(Kind::BrokerLost));
        assert_eq!(kind(Some(&one), Some(&other)), None);
        assert_eq!(
            kind(Some(&other), Some(&connected)),
            Some(Kind::BrokerConnected)
        );
        assert_eq!(kind(Some(&connected), Some(&connected)), None);
        let (_, fields) = change(Some(&connected), Some(&one)).expect("it is lost");
        assert_eq!(fields.reason.as_deref(), Some("refused"));
        assert_eq!(kind(Some(&connected), None), None);
    }
}
