//! Stops a driver's thread in an event, as a process stands still that is stopped.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};

use hustings::event::Event;
use hustings::observer::Observer;

#[derive(Clone, Default)]
pub(crate) struct Brake {
    pulled: Arc<(Mutex<bool>, Condvar)>,
    stands: Arc<AtomicBool>,
}

impl Brake {
    pub(crate) fn set(&self, pulled: bool) {
        *self.pulled.0.lock().expect("unpoisoned") = pulled;
        self.pulled.1.notify_all();
    }

    pub(crate) fn stands(&self) -> bool {
        self.stands.load(Ordering::SeqCst)
    }
}

impl Observer for Brake {
    fn observe(&mut self, _: &Event) {
        let mut pulled = self.pulled.0.lock().expect("unpoisoned");
        while *pulled {
            self.stands.store(true, Ordering::SeqCst);
            pulled = self.pulled.1.wait(pulled).expect("unpoisoned");
        }
        self.stands.store(false, Ordering::SeqCst);
    }
}
