//! What the old process sends of published messages: topics at the broker, history, and ids.

use tokio::time::timeout;

use crate::base::history_id::HistoryId;
use crate::control::handover::step::{ANSWER_MAX, StepError};
use crate::control::messages::Messages;
use crate::core::messages::dedup::Place;
use crate::core::messages::topic::Topic;
use crate::io::handover::{FromOld, STATE_HISTORY, STATE_IDS, Wire};

/// How often messages are sent that came meanwhile. If there are still more, the new process tells
/// clients of a gap.
const ROUNDS_MAX: usize = 100;

/// Sends the topics of the sessions, if a new process that `reads` such states reads them.
pub(super) async fn send_topics(
    wire: &mut Wire,
    messages: &Messages,
    reads: u32,
) -> Result<(), StepError> {
    let mut last: Option<Topic> = None;
    while reads >= STATE_IDS
        && let Some((part, sent)) = messages.topics_part(last.as_ref())
    {
        send_part(wire, &FromOld::Topics, &part).await?;
        last = Some(sent);
    }
    Ok(())
}

/// What was sent of history and ids.
#[derive(Default)]
pub(super) struct SentMessages {
    history: HistoryId,
    ids: Option<Place>,
}

impl SentMessages {
    /// Sends what has come since the last call, as far as the new process reads it.
    pub(super) async fn send_more(
        &mut self,
        wire: &mut Wire,
        messages: &Messages,
        reads: u32,
    ) -> Result<(), StepError> {
        while reads >= STATE_HISTORY
            && let Some((part, last)) = messages.history_part(self.history).await
        {
            send_part(wire, &FromOld::History, &part).await?;
            self.history = last;
        }
        while reads >= STATE_IDS
            && let Some((part, last)) = messages.ids_part(self.ids)
        {
            send_part(wire, &FromOld::Ids, &part).await?;
            self.ids = Some(last);
        }
        Ok(())
    }

    /// Sends what has come since the last call, and what completes all that was sent.
    pub(super) async fn send_rest(
        mut self,
        wire: &mut Wire,
        messages: &Messages,
        reads: u32,
    ) -> Result<(), StepError> {
        for _ in 0..ROUNDS_MAX {
            self.send_more(wire, messages, reads).await?;
            if reads >= STATE_HISTORY
                && let Some(parts) = messages.history_completion(self.history).await
            {
                for part in &parts {
                    send_part(wire, &FromOld::History, part).await?;
                }
                break;
            }
        }
        Ok(())
    }
}

async fn send_part(wire: &mut Wire, content: &FromOld, part: &[u8]) -> Result<(), StepError> {
    let attachment = [part];
    let sent = timeout(ANSWER_MAX, wire.send(content, &attachment, &[])).await;
    Ok(sent.map_err(|_| StepError::Silent(ANSWER_MAX))??)
}
