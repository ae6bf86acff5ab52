//! Whether a member contends, as far as its users decide it: somebody waits for leadership or works, and the application is
//! fit.

use std::time::Duration;

use crate::message::Contention;
use crate::node::Input;
use crate::types::Time;

/// What the core was told, and what it will be.
#[derive(Debug)]
pub(super) struct Candidacy {
    told: Contention,
    /// Why the application is not fit, unless it is.
    unfit: Option<String>,
    /// When the core hears that nobody waits any more: who begins another round at once is not noticed.
    idle_at: Time,
}

impl Candidacy {
    pub(super) fn new() -> Candidacy {
        Candidacy { told: Contention::Contends, unfit: None, idle_at: Time::ZERO }
    }

    pub(super) fn set_fit(&mut self, fit: bool, why: String) {
        self.unfit = (!fit).then_some(why);
    }

    /// When [`Candidacy::news`] may have something to say.
    pub(super) fn due(&self) -> Time {
        if self.told == Contention::Contends { self.idle_at } else { Time::NEVER }
    }

    /// What the core has to be told. `wanted` says whether somebody waits for leadership, or works.
    pub(super) fn news(&mut self, now: Time, wanted: bool, patience: Duration) -> Option<Input> {
        let contention = match (&self.unfit, wanted) {
            (Some(_), _) => Contention::Unfit,
            (None, true) => Contention::Contends,
            (None, false) => Contention::Idle,
        };
        if contention != Contention::Idle || self.told == Contention::Idle {
            self.idle_at = Time::NEVER;
        } else if self.idle_at == Time::NEVER {
            self.idle_at = now + patience;
        }
        let waits = contention == Contention::Idle && now < self.idle_at && self.told == Contention::Contends;
        if contention == self.told || waits {
            return None;
        }
        (self.told, self.idle_at) = (contention, Time::NEVER);
        let why = self.unfit.clone().filter(|why| !why.is_empty());
        Some(Input::Contend(contention, why))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_nanos(50);

    fn told(candidacy: &mut Candidacy, now: u64, wanted: bool) -> Option<Contention> {
        match candidacy.news(Time(now), wanted, PATIENCE) {
            Some(Input::Contend(contention, _)) => Some(contention),
            _ => None,
        }
    }

    #[test]
    fn a_member_contends_from_when_somebody_waits() {
        let mut candidacy = Candidacy::new();
        assert_eq!(told(&mut candidacy, 1, false), Some(Contention::Idle), "a start waits for nothing");
        assert_eq!((told(&mut candidacy, 2, false), candidacy.due()), (None, Time::NEVER));
        assert_eq!(told(&mut candidacy, 3, true), Some(Contention::Contends));
    }

    #[test]
    fn between_two_rounds_nobody_stands_back() {
        let mut candidacy = Candidacy::new();
        assert_eq!(told(&mut candidacy, 1, true), None);
        assert_eq!((told(&mut candidacy, 100, false), candidacy.due()), (None, Time(150)));
        assert_eq!((told(&mut candidacy, 149, true), candidacy.due()), (None, Time::NEVER));
        assert_eq!((told(&mut candidacy, 200, false), candidacy.due()), (None, Time(250)));
        assert_eq!((told(&mut candidacy, 250, false), candidacy.due()), (Some(Contention::Idle), Time::NEVER));
    }

    #[test]
    fn who_is_not_fit_stands_back_whoever_waits() {
        let mut candidacy = Candidacy::new();
        assert_eq!(told(&mut candidacy, 1, true), None);
        candidacy.set_fit(false, "warming up".to_owned());
        let told_why = candidacy.news(Time(2), true, PATIENCE);
        assert!(matches!(told_why, Some(Input::Contend(Contention::Unfit, Some(why))) if why == "warming up"));
        candidacy.set_fit(true, String::new());
        assert_eq!(told(&mut candidacy, 3, true), Some(Contention::Contends));
    }
}
