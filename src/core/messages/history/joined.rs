//! One message under several ids.

use std::sync::Arc;

use crate::base::group::GroupName;
use crate::base::history_id::HistoryId;
use crate::core::messages::history::History;

/// Further ids of a message: so many hand-overs within the time for which the broker may lag.
const OTHERS_MAX: usize = 4;

impl<T> History<T> {
    /// Notes that the same message was kept under another id of this gateway; returns whether it
    /// was. `name` is what the fleet calls it.
    pub(super) fn is_twin(
        &mut self,
        ids: &[HistoryId],
        groups: &[GroupName],
        name: Option<&Arc<str>>,
    ) -> bool {
        let Some(((twins, name), id)) = self.twins.as_mut().zip(name).zip(ids.first()) else {
            return false;
        };
        let Some(known) = twins.known(*id, name) else {
            return false;
        };
        self.last = ids.iter().copied().fold(self.last, HistoryId::max);
        let largest = ids.iter().copied().fold(*id, HistoryId::max);
        for group in groups {
            let Some(kept) = self.groups.get_mut(group) else {
                self.lost = self.lost.max(largest);
                continue;
            };
            let place = kept.messages.binary_search_by_key(&known, |one| one.id);
            let Some(entry) = place.ok().and_then(|place| kept.messages.get_mut(place)) else {
                // It is dropped already.
                kept.raise(largest);
                continue;
            };
            kept.twins += usize::from(entry.others.is_empty());
            let new = ids.iter().filter(|id| **id != entry.id);
            let room = OTHERS_MAX.saturating_sub(entry.others.len());
            entry.others.extend(new.take(room));
        }
        true
    }
}
