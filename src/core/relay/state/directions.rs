//! One direction as plain data: the flags of the format, and the states that they stand for. Some
//! names in the format are older than those of the code: to change them would need another `STATE`.

use serde::{Deserialize, Serialize};

use crate::base::blob;
use crate::core::relay::backlog::{Backlog, Waiting};
use crate::core::relay::close_filter::CloseFilter;
use crate::core::relay::direction::{
    Activity, CloseFrame, ClosePlace, Direction, Heard, SinkState, SourceState, early_bytes,
};
use crate::core::relay::hold::{Hold, HoldBuffer};
use crate::core::relay::injected::InjectedFrames;
use crate::core::relay::outbound_queue::OutboundQueue;
use crate::core::wire::position::Position;
use crate::core::wire::tracker::{FrameTracker, PING_BYTES};

/// A direction, as it is written.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DirectionState {
    tracker: FrameTracker,
    state: SourceFlag,
    #[serde(with = "blob")]
    unsent: Vec<u8>,
    sent: usize,
    unsent_at: Position,
    unsent_own: bool,
    replaceable: bool,
    #[serde(rename = "fork")]
    hold: Option<Box<HoldState>>,
    #[serde(rename = "withhold")]
    close_filter: FilterFlag,
    ping: Option<[u8; PING_BYTES]>,
    #[serde(with = "blob")]
    early: Vec<u8>,
    #[serde(rename = "goodbye")]
    close_frame: Option<CloseFrameState>,
    closed: bool,
    finish: bool,
    finished: bool,
    sink_lost: bool,
    unflushed: bool,
    moved: bool,
    heard: bool,
    /// Only where there is some: directions without it are written as they were before there was
    /// this field.
    #[serde(rename = "own", default, skip_serializing_if = "Option::is_none")]
    injected: Option<Box<InjectedState>>,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum SourceFlag {
    Open,
    #[serde(rename = "silenced")]
    Discarding,
    Ended,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
enum FilterFlag {
    #[serde(rename = "Nothing")]
    Off,
    GoingAway,
    Answers,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum PlaceFlag {
    NextBoundary,
    #[serde(rename = "last_word")]
    SourceClose,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct CloseFrameState {
    #[serde(with = "blob")]
    frame: Vec<u8>,
    place: PlaceFlag,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct HoldState {
    #[serde(rename = "farewell", with = "blob::optional")]
    close_frame: Option<Vec<u8>>,
    #[serde(with = "blob")]
    bytes: Vec<u8>,
    max: usize,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct InjectedState {
    #[serde(rename = "aside", with = "blob")]
    undecided: Vec<u8>,
    #[serde(rename = "heard", with = "blob::optional")]
    received: Option<Vec<u8>>,
    #[serde(rename = "says", with = "blob")]
    queued: Vec<u8>,
}

impl DirectionState {
    pub(super) fn of(direction: &Direction) -> Self {
        // No `..`: a field that is added has to be decided about here.
        let Direction {
            tracker,
            source,
            sink,
            closed,
            queued_close,
            replaceable,
            hold,
            backlog,
            unflushed,
            filter,
            ping,
            early,
            activity,
            injected,
        } = direction.clone();
        let waiting = Waiting::from(backlog);
        Self {
            tracker,
            state: source.into(),
            unsent: waiting.bytes,
            sent: waiting.sent,
            unsent_at: waiting.at,
            unsent_own: waiting.own_only,
            replaceable,
            hold: hold.map(|hold| Box::new((*hold).into())),
            close_filter: filter.into(),
            ping,
            early: early.map(|early| *early).unwrap_or_default(),
            close_frame: queued_close.map(|close| (*close).into()),
            closed,
            finish: matches!(sink, SinkState::Finishing | SinkState::Finished),
            finished: sink == SinkState::Finished,
            sink_lost: sink == SinkState::Lost,
            unflushed,
            moved: activity.moved,
            heard: activity.heard != Heard::Nothing,
            injected: injected
                .filter(|injected| injected.len() > 0 || injected.received.is_some())
                .map(|injected| Box::new((*injected).into())),
        }
    }

    /// The direction that was written; `None` if no direction can be in this state.
    pub(super) fn into_direction(self) -> Option<Direction> {
        if !self.tracker.is_sound() || self.sent > self.unsent.len() {
            return None;
        }
        // A sink that gets a close frame gets nothing behind it, whatever the flags say.
        let closed = self.closed;
        let queued_close = self.close_frame.filter(|_| !closed);
        let mut injected = match self.injected {
            Some(injected) => Some(Box::new(injected.into_frames()?)),
            None => None,
        };
        if let Some(injected) = injected.as_mut().filter(|_| closed) {
            injected.queued.clear();
        }
        let sink = match () {
            () if self.sink_lost => SinkState::Lost,
            () if self.finished => SinkState::Finished,
            () if self.finish => SinkState::Finishing,
            () => SinkState::Open,
        };
        let backlog = Backlog::from(Waiting {
            bytes: self.unsent,
            sent: self.sent,
            at: self.unsent_at,
            own_only: self.unsent_own,
        });
        Some(Direction {
            tracker: self.tracker,
            source: self.state.into(),
            sink,
            closed,
            queued_close: queued_close.map(|close| Box::new(close.into())),
            replaceable: self.replaceable || self.hold.is_some(),
            hold: self.hold.map(|hold| Box::new((*hold).into())),
            backlog,
            unflushed: self.unflushed,
            filter: self.close_filter.into(),
            ping: self.ping.filter(|_| !closed),
            early: early_bytes(self.early),
            activity: Activity {
                moved: self.moved,
                heard: match self.heard {
                    true => Heard::Something,
                    false => Heard::Nothing,
                },
                ..Activity::default()
            },
            injected,
        })
    }
}

impl From<SourceState> for SourceFlag {
    fn from(source: SourceState) -> Self {
        match source {
            SourceState::Open => Self::Open,
            SourceState::Discarding => Self::Discarding,
            SourceState::Ended => Self::Ended,
        }
    }
}

impl From<SourceFlag> for SourceState {
    fn from(flag: SourceFlag) -> Self {
        match flag {
            SourceFlag::Open => Self::Open,
            SourceFlag::Discarding => Self::Discarding,
            SourceFlag::Ended => Self::Ended,
        }
    }
}

impl From<CloseFilter> for FilterFlag {
    fn from(filter: CloseFilter) -> Self {
        match filter {
            CloseFilter::Off => Self::Off,
            CloseFilter::GoingAway => Self::GoingAway,
            CloseFilter::Answers => Self::Answers,
        }
    }
}

impl From<FilterFlag> for CloseFilter {
    fn from(flag: FilterFlag) -> Self {
        match flag {
            FilterFlag::Off => Self::Off,
            FilterFlag::GoingAway => Self::GoingAway,
            FilterFlag::Answers => Self::Answers,
        }
    }
}

impl From<CloseFrame> for CloseFrameState {
    fn from(close: CloseFrame) -> Self {
        Self {
            frame: close.frame,
            place: match close.place {
                ClosePlace::NextBoundary => PlaceFlag::NextBoundary,
                ClosePlace::SourceClose => PlaceFlag::SourceClose,
            },
        }
    }
}

impl From<CloseFrameState> for CloseFrame {
    fn from(state: CloseFrameState) -> Self {
        Self {
            frame: state.frame,
            place: match state.place {
                PlaceFlag::NextBoundary => ClosePlace::NextBoundary,
                PlaceFlag::SourceClose => ClosePlace::SourceClose,
            },
        }
    }
}

impl From<Hold> for HoldState {
    fn from(hold: Hold) -> Self {
        Self {
            close_frame: hold.close_frame,
            bytes: hold.held.bytes,
            max: hold.held.max,
        }
    }
}

impl From<HoldState> for Hold {
    fn from(state: HoldState) -> Self {
        Self {
            close_frame: state.close_frame,
            held: HoldBuffer {
                bytes: state.bytes,
                max: state.max,
            },
        }
    }
}

impl From<InjectedFrames> for InjectedState {
    /// Without the counts and the lifetimes of messages, which `OwnState` has.
    fn from(injected: InjectedFrames) -> Self {
        Self {
            undecided: injected.undecided,
            received: injected.received,
            queued: injected.queued.to_bytes(),
        }
    }
}

impl InjectedState {
    /// `None` if what is queued is not whole frames.
    fn into_frames(self) -> Option<InjectedFrames> {
        Some(InjectedFrames {
            undecided: self.undecided,
            received: self.received,
            reported: false,
            queued: OutboundQueue::from_bytes(&self.queued)?,
        })
    }
}
