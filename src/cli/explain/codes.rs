//! What close codes (RFC 6455, section 7.4.1, and IANA's registry) and HTTP statuses mean behind
//! this gateway.

/// An explanation of a code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Meaning {
    /// What the client sees.
    pub(super) means: &'static str,
    /// Who sends it, and why.
    pub(super) causes: &'static [&'static str],
    /// Where to look and what to do.
    pub(super) look: &'static [&'static str],
}

const REFUSALS: &str = "`sessile refusals` lists who was refused and by which rule";
const ENDED: &str = "`sessile sessions --ended` lists who ended each session, and why";
const CHECK_BACKENDS: &str = "`sessile doctor` says which backends are not well, and why";

/// The meaning of a close code or a status; `None` for one that has none here.
pub(super) fn meaning(code: u16) -> Option<Meaning> {
    Some(match code {
        400..=404 => common_status(code)?,
        405..=499 => client_status(code)?,
        500..=599 => server_status(code)?,
        1000..=1005 => ordinary_close(code)?,
        1006..=1010 => broken_close(code)?,
        1011..=1015 => server_close(code)?,
        3000 | 3003 | 3008 => registered_close(code)?,
        3001..=3999 => Meaning {
            means: "a code of a library or framework, registered with IANA",
            causes: &[
                "the gateway sends only 3000, 3003 and 3008: client or backend sent this one",
            ],
            look: &[
                ENDED,
                "the documentation of the library that the backend uses",
            ],
        },
        4000..=4999 => Meaning {
            means: "a code of the application's own",
            causes: &["the gateway sends none of these: client or backend sent it"],
            look: &[ENDED, "the backend's own documentation"],
        },
        _ => return None,
    })
}

fn ordinary_close(code: u16) -> Option<Meaning> {
    Some(match code {
        1000 => Meaning {
            means: "a normal end",
            causes: &["client or backend closed, and meant to"],
            look: &[ENDED],
        },
        1001 => Meaning {
            means: "one side is going away",
            causes: &[
                "the browser left the page",
                "the gateway was stopped and its `shutdown.grace` ended (cause `shutdown`)",
                "the backend stops; on a route with `on_backend_loss = \"reconnect\"` the client does not see it",
            ],
            look: &[
                ENDED,
                "`sessile run --take-over` replaces a gateway and ends no session",
            ],
        },
        1002 => Meaning {
            means: "a frame broke the protocol (RFC 6455)",
            causes: &[
                "a frame of the client did (cause `client_protocol_error`)",
                "a frame of the backend did (cause `backend_protocol_error`)",
            ],
            look: &[ENDED, "`sessile tap ID` shows the headers of the frames"],
        },
        1003 => Meaning {
            means: "data of a kind that is not accepted",
            causes: &["client or backend sent it, such as binary where text was wanted"],
            look: &[ENDED],
        },
        1005 => Meaning {
            means: "a close frame without a code",
            causes: &[
                "it is never sent: a library reports it for a close frame that names no code",
            ],
            look: &[ENDED],
        },
        _ => return None,
    })
}

fn broken_close(code: u16) -> Option<Meaning> {
    Some(match code {
        1006 => Meaning {
            means: "the connection ended without a close frame, or the upgrade was refused",
            causes: &[
                "it is never sent: the browser reports it, and hides the status of a refusal",
                "before `onopen`: the upgrade was refused",
                "after `onopen`: the network, or a proxy between client and gateway with an idle timeout",
                "after `onopen`: the backend broke off inside a frame, where no close frame can be put",
            ],
            look: &[
                REFUSALS,
                ENDED,
                "`reject_with = \"close\"` on the route shows scripts the reason of a refusal",
                "`keepalive = { interval = \"30s\" }` on the route keeps idle connections open in proxies",
            ],
        },
        1007 => Meaning {
            means: "a text message that is not UTF-8",
            causes: &["client or backend found it; the gateway looks at no payload"],
            look: &[ENDED],
        },
        1008 => Meaning {
            means: "a policy of the gateway or of the backend",
            causes: &[
                "the client sent more than `limits.messages_per_second` allow (cause `rate_limited`)",
                "an operator ended it (cause `kicked`): the record names who, and why",
            ],
            look: &[ENDED],
        },
        1009 => Meaning {
            means: "a message that is too big",
            causes: &[
                "it is longer than `limits.message_bytes` of the route (cause `too_big`)",
                "the backend has a bound of its own",
            ],
            look: &[ENDED, "raise `limits.message_bytes` of the route"],
        },
        1010 => Meaning {
            means: "the client misses an extension",
            causes: &["the client closed, since the backend did not negotiate it"],
            look: &[ENDED],
        },
        _ => return None,
    })
}

fn server_close(code: u16) -> Option<Meaning> {
    Some(match code {
        1011 => Meaning {
            means: "the backend was lost, or failed",
            causes: &[
                "the backend's connection ended or was reset (ended by `backend`)",
                "the backend sent it itself (cause `close_frame`)",
                "no other backend could go on with the session (cause `not_resumable`)",
                "on a route without a backend: the broker refuses the message",
            ],
            look: &[
                CHECK_BACKENDS,
                ENDED,
                "`on_backend_loss = \"reconnect\"` on the route: the session goes on with another backend",
            ],
        },
        1012 => Meaning {
            means: "a restart: connect again, at once",
            causes: &[
                "its backend was drained (cause `drained`)",
                "its key has another home after a change of members (cause `rebalanced`)",
                "the backend itself sent it",
            ],
            look: &[
                "`sessile history` says who drained what, and when",
                "`on_backend_loss = \"reconnect\"` on the route: such sessions move and clients see nothing",
            ],
        },
        1013 => Meaning {
            means: "try again later",
            causes: &[
                "the gateway refused the upgrade for lack of a backend, for load or for a quota, on a route with `reject_with = \"close\"`",
                "on a route without a backend: the broker did not get a message (`sessile_broker_messages_total`)",
                "the backend itself sent it",
            ],
            look: &[REFUSALS, CHECK_BACKENDS],
        },
        1014 => Meaning {
            means: "a proxy got a bad answer",
            causes: &["another proxy or the backend sent it; this gateway does not"],
            look: &[ENDED],
        },
        1015 => Meaning {
            means: "the TLS handshake failed",
            causes: &["it is never sent: the client reports it, mostly for a certificate"],
            look: &["`sessile certs` shows the names and ends of the certificates"],
        },
        _ => return None,
    })
}

fn registered_close(code: u16) -> Option<Meaning> {
    Some(match code {
        3000 => Meaning {
            means: "no valid credential",
            causes: &[
                "the credential expired while the session lived (cause `expired`)",
                "its right was revoked (cause `revoked`)",
                "the upgrade was refused with 401, on a route with `reject_with = \"close\"`",
            ],
            look: &[
                ENDED,
                REFUSALS,
                "`expiry.renewal` of the route lets clients renew in time",
            ],
        },
        3003 => Meaning {
            means: "not allowed",
            causes: &[
                "the upgrade was refused with 403, on a route with `reject_with = \"close\"`",
            ],
            look: &[
                REFUSALS,
                "`sessile resolve URL -H 'Origin: …'` names the rule",
            ],
        },
        3008 => Meaning {
            means: "silent for too long, or too old",
            causes: &[
                "nothing passed for `timeouts.idle` (cause `idle_timeout`)",
                "it reached `timeouts.lifetime` (cause `lifetime_reached`)",
                "it answered no ping within `keepalive.timeout` (cause `keepalive_timeout`)",
            ],
            look: &[
                ENDED,
                "a `keepalive` with an interval below `timeouts.idle` keeps quiet sessions",
            ],
        },
        _ => return None,
    })
}

fn common_status(code: u16) -> Option<Meaning> {
    Some(match code {
        400 => Meaning {
            means: "a request that cannot be read in one way only",
            causes: &[
                "reasons `smuggling`, `bad_target`, `bad_upgrade`, `body_incomplete`",
                "`no_broker_name`: on a route without a backend, values that make no name",
            ],
            look: &[REFUSALS],
        },
        401 => Meaning {
            means: "no valid credential",
            causes: &[
                "none came, or not where the authenticator's `from` looks for it",
                "it has expired, or its signature, issuer or audience is not accepted",
                "it was revoked",
            ],
            look: &[
                REFUSALS,
                "`sessile resolve URL -H 'Authorization: …'` checks one",
            ],
        },
        403 => Meaning {
            means: "a credential or an origin that lacks the right",
            causes: &[
                "`origin`: the page's origin is not in the route's `origins`",
                "`forbidden`: a condition of `authorize` is not met",
                "`address`: the client's address is denied",
            ],
            look: &[
                REFUSALS,
                "`sessile resolve URL -H 'Origin: …'` names the rule",
            ],
        },
        404 => Meaning {
            means: "no route, or the backend's own answer",
            causes: &[
                "no route takes this host, path and method (problem+json)",
                "the backend answers 404 (another body; the record has `declined`)",
            ],
            look: &["`sessile resolve URL` shows why each route does not match"],
        },
        _ => return None,
    })
}

fn client_status(code: u16) -> Option<Meaning> {
    Some(match code {
        405 => Meaning {
            means: "a method that is not taken here",
            causes: &["`CONNECT`, or another method than `POST` at a path that renews or mints"],
            look: &[REFUSALS],
        },
        408 => Meaning {
            means: "the client was too slow",
            causes: &["its request did not arrive within the listener's `timeouts`"],
            look: &[REFUSALS],
        },
        426 => Meaning {
            means: "an upgrade that is none",
            causes: &[
                "a proxy in front removed `Upgrade` and `Connection`, or the version is not 13",
            ],
            look: &["the configuration of that proxy", REFUSALS],
        },
        429 => Meaning {
            means: "a quota is used up",
            causes: &[
                "sessions or handshakes of its address, network or principal, per `limits`",
                "behind another proxy all clients have one address, unless `proxy_protocol` or `trusted_proxies` is set",
            ],
            look: &[REFUSALS],
        },
        431 => Meaning {
            means: "a head that is too large",
            causes: &["headers beyond the listener's `limits`, mostly cookies"],
            look: &[REFUSALS],
        },
        499 => Meaning {
            means: "the client left before its answer",
            causes: &["only records show it; the client gave up"],
            look: &["how long the backend takes: the handshake histogram of its upstream"],
        },
        _ => return None,
    })
}

fn server_status(code: u16) -> Option<Meaning> {
    Some(match code {
        500 => Meaning {
            means: "a fault of the gateway or the backend's own answer",
            causes: &["the gateway itself: `aborted` in the record, which is a bug"],
            look: &[REFUSALS],
        },
        502 => Meaning {
            means: "the backend did not answer as a WebSocket server does",
            causes: &[
                "`unreachable`: no candidate could be connected to",
                "`invalid_answer`: its 101 is not valid (RFC 6455, section 4.2.2)",
                "`backend_broke`, `bad_answer`: it broke off, or its answer cannot be read",
            ],
            look: &[CHECK_BACKENDS, REFUSALS],
        },
        503 => Meaning {
            means: "nothing can take it now",
            causes: &[
                "`no_backend`: none is healthy and active",
                "`stopping`, `admission_ramp`: the gateway stops, or has just started",
                "a limit of the node or of the route's sessions is reached",
                "`not_verified`: an issuer or forward-auth service does not answer",
            ],
            look: &[CHECK_BACKENDS, REFUSALS],
        },
        504 => Meaning {
            means: "the backend took the connection and did not answer in time",
            causes: &["`timed_out`, `backend_stalled`: see `timeouts.handshake` of the route"],
            look: &[
                CHECK_BACKENDS,
                "`timeouts.attempt` asks the next backend meanwhile",
            ],
        },
        508 => Meaning {
            means: "a loop of gateways",
            causes: &["the request has passed this gateway before: an upstream leads back to it"],
            look: &["`sessile resolve URL` shows where it goes"],
        },
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_that_a_client_can_see_is_explained() {
        let known = (1000..=1003)
            .chain(1005..=1015)
            .chain([3000, 3003, 3008, 3500, 4999]);
        for code in known.chain([400, 401, 403, 404, 405, 408, 426, 429, 431, 499, 500, 502]) {
            let meaning = meaning(code).unwrap_or_else(|| panic!("{code} is not explained"));
            assert!(
                !meaning.causes.is_empty() && !meaning.look.is_empty(),
                "{code}"
            );
        }
        for unknown in [0, 200, 399, 418, 599, 999, 1004, 1016, 2999, 5000] {
            assert_eq!(meaning(unknown), None, "{unknown}");
        }
    }
}
