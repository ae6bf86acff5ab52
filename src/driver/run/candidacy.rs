//! Tells the core who contends.

use super::Driver;
use crate::driver::group::Group;

impl Driver {
    /// Whether the application is fit to lead from now on.
    pub(super) fn set_fit(&mut self, at: usize, fit: bool, why: String) {
        if let Some(group) = self.groups.get_mut(at).and_then(Option::as_mut) {
            group.set_fit(fit, why);
        }
        self.tell_candidacy(at);
    }

    /// Tells the core whether this member contends, if that is new.
    pub(super) fn tell_candidacy(&mut self, at: usize) {
        let now = self.clock.now();
        let group: Option<&mut Group> = self.groups.get_mut(at).and_then(Option::as_mut);
        match group.and_then(|group| group.candidacy(now)) {
            Some(input) => self.step(at, input),
            None => self.rearm(at, now),
        }
    }
}
