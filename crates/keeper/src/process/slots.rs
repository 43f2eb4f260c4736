//! A list whose places are reused, with keys that go stale when their entry is taken out.

/// One entry's place and the number of its life in that place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Key {
    index: u32,
    /// 24 bits, so that a key fits beside a kind in an epoll token.
    life: u32,
}

const LIFE_MASK: u32 = (1 << 24) - 1;

impl Key {
    /// In 56 bits.
    pub(super) fn encode(self) -> u64 {
        u64::from(self.life) << 32 | u64::from(self.index)
    }

    pub(super) fn decode(number: u64) -> Self {
        Self { index: number as u32, life: (number >> 32) as u32 & LIFE_MASK }
    }
}

struct Slot<T> {
    life: u32,
    entry: Option<Box<T>>,
}

/// The list. Entries are boxed: an empty place costs 16 bytes.
pub(super) struct Slots<T> {
    slots: Vec<Slot<T>>,
    free: Vec<u32>,
}

impl<T> Slots<T> {
    pub(super) fn new() -> Self {
        Self { slots: Vec::new(), free: Vec::new() }
    }

    /// The key that the next [`Slots::insert`] gives.
    pub(super) fn next_key(&self) -> Key {
        match self.free.last() {
            Some(index) => Key { index: *index, life: self.slots[*index as usize].life },
            None => Key { index: self.slots.len() as u32, life: 0 },
        }
    }

    pub(super) fn insert(&mut self, entry: T) -> Key {
        let key = self.next_key();
        if self.free.pop().is_none() {
            self.slots.push(Slot { life: 0, entry: None });
        }
        self.slots[key.index as usize].entry = Some(Box::new(entry));
        key
    }

    pub(super) fn get(&self, key: Key) -> Option<&T> {
        self.slots.get(key.index as usize).filter(|slot| slot.life == key.life)?.entry.as_deref()
    }

    pub(super) fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        self.slots.get_mut(key.index as usize).filter(|slot| slot.life == key.life)?.entry.as_deref_mut()
    }

    pub(super) fn remove(&mut self, key: Key) -> Option<T> {
        let slot = self.slots.get_mut(key.index as usize).filter(|slot| slot.life == key.life)?;
        let entry = slot.entry.take()?;
        slot.life = (slot.life + 1) & LIFE_MASK;
        self.free.push(key.index);
        Some(*entry)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.slots.len() == self.free.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Key, &T)> {
        self.slots.iter().enumerate().filter_map(|(index, slot)| {
            let key = Key { index: index as u32, life: slot.life };
            slot.entry.as_deref().map(|entry| (key, entry))
        })
    }

    pub(super) fn keys(&self) -> Vec<Key> {
        self.iter().map(|(key, _)| key).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_does_not_find_the_next_tenant() {
        let mut slots = Slots::new();
        let first = slots.insert("first");
        assert_eq!(slots.remove(first), Some("first"));
        assert!(slots.is_empty());
        let second = slots.insert("second");
        assert_eq!(slots.get(first), None);
        assert_eq!(slots.remove(first), None);
        assert_eq!(slots.get(second), Some(&"second"));
        assert_eq!(Key::decode(second.encode()), second);
    }
}
