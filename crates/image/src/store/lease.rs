//! Leases: layers that an operation in progress counts on, so that garbage collection leaves them alone.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use hako_model::Digest;
use parking_lot::Mutex;

/// All leases.
#[derive(Debug, Default)]
pub(super) struct Leases {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    next: u64,
    held: HashMap<u64, HashSet<Digest>>,
}

/// Keeps layers (by diff id) until it is dropped.
#[derive(Debug)]
pub(super) struct Lease {
    state: Arc<Mutex<State>>,
    number: u64,
}

impl Leases {
    pub(super) fn take(&self) -> Lease {
        let mut state = self.state.lock();
        state.next += 1;
        let number = state.next;
        state.held.insert(number, HashSet::new());
        Lease { state: self.state.clone(), number }
    }

    pub(super) fn count(&self) -> usize {
        self.state.lock().held.len()
    }

    pub(super) fn holds(&self, diff_id: Digest) -> bool {
        self.state.lock().held.values().any(|held| held.contains(&diff_id))
    }
}

impl Lease {
    pub(super) fn hold(&self, diff_id: Digest) {
        if let Some(held) = self.state.lock().held.get_mut(&self.number) {
            held.insert(diff_id);
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.state.lock().held.remove(&self.number);
    }
}
