//! Contexts of ciphers that outlive a turn, for connections that are in use: making a context costs
//! about as much as sealing a short record with it.

use aws_lc_rs::aead::LessSafeKey;

/// The contexts of one connection, as far as they have been made.
#[derive(Default)]
pub(super) struct Contexts {
    pub(super) opening: Option<LessSafeKey>,
    pub(super) sealing: Option<LessSafeKey>,
}

/// Contexts of the connections that a thread has used last. Its owner clears it every moment, so
/// that no idle connection has any.
pub struct ContextCache {
    /// By the number of their keys, modulo the length.
    slots: Box<[Slot]>,
    used: bool,
}

#[derive(Default)]
struct Slot {
    /// Identifies the keys; 0 for none.
    keys: u64,
    contexts: Contexts,
}

impl ContextCache {
    /// Room for the contexts of this many connections, at least one.
    pub fn new(connections: usize) -> Self {
        let slots = (0..connections.max(1)).map(|_| Slot::default());
        Self {
            slots: slots.collect(),
            used: false,
        }
    }

    /// Takes the contexts of these keys out.
    pub(super) fn take(&mut self, keys: u64) -> Contexts {
        let slot = self.slot(keys);
        match slot.keys == keys {
            true => std::mem::take(&mut slot.contexts),
            false => Contexts::default(),
        }
    }

    /// Keeps the contexts of these keys, in place of others.
    pub(super) fn put(&mut self, keys: u64, contexts: Contexts) {
        *self.slot(keys) = Slot { keys, contexts };
        self.used = true;
    }

    /// Drops all contexts, which zeroises them.
    pub fn clear(&mut self) {
        if std::mem::take(&mut self.used) {
            self.slots.fill_with(Slot::default);
        }
    }

    fn slot(&mut self, keys: u64) -> &mut Slot {
        let place = keys % self.slots.len() as u64;
        &mut self.slots[usize::try_from(place).expect("less than a length")]
    }

    /// How many connections have contexts here.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        let held = self.slots.iter().filter(|slot| {
            let Contexts { opening, sealing } = &slot.contexts;
            opening.is_some() || sealing.is_some()
        });
        held.count()
    }
}
