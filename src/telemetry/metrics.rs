//! The observer that measures: events into counters and histograms, vital signs into gauges.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use opentelemetry::global;
use opentelemetry::metrics::MeterProvider;

use crate::event::Event;
use crate::observer::{Beat, Observer, Vitals, Workload};
use crate::types::GroupId;

mod fold;
mod instruments;

use fold::Fold;
pub(super) use instruments::Drops;
use instruments::{Instruments, Provider};

/// Measures one node: elections, votes, terms of office, heartbeats, leases, disk, driver.
///
/// A handle: clones share one state. [`Spans`](super::Spans) holds one already; use it alone where traces are not wanted.
///
/// Instruments come from the provider that [`Metrics::with_provider`] named, else from the global one. Whether that has
/// changed is looked at with every event and every picked heartbeat, so that it may be installed later.
///
/// Every measurement bears the cluster, the group and the node, and none a term, an election or an incarnation, whose
/// number has no bound.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    given: Option<Provider>,
    groups: Mutex<BTreeMap<GroupId, Measured>>,
}

/// One group, and the instruments that it was last measured with.
struct Measured {
    fold: Fold,
    vitals: Option<Arc<Vitals>>,
    /// Whether a driver keeps the vital signs; else the events do.
    attached: bool,
    drops: Arc<Drops>,
    found: Option<(Provider, Arc<Instruments>)>,
}

impl Metrics {
    /// With the global provider.
    #[must_use]
    pub fn new() -> Metrics {
        Metrics::default()
    }

    /// With another provider.
    #[must_use]
    pub fn with_provider(provider: impl MeterProvider + Send + Sync + 'static) -> Metrics {
        Metrics { shared: Arc::new(Shared { given: Some(Arc::new(provider)), groups: Mutex::default() }) }
    }

    /// Takes note of an event. What [`Observer::observe`] does, for those who hold a shared handle.
    pub fn record(&self, event: &Event) {
        let provider = self.provider();
        let mut groups = self.groups();
        let group = groups.entry(event.who.group.clone()).or_insert_with(Measured::new);
        group.know(event);
        if let Some(instruments) = group.instruments(provider) {
            group.fold.record(event, &instruments);
        }
    }

    pub(super) fn take_vitals(&self, vitals: &Arc<Vitals>) {
        let provider = self.provider();
        let mut groups = self.groups();
        let group = groups.entry(vitals.who().group.clone()).or_insert_with(Measured::new);
        group.vitals = Some(Arc::clone(vitals));
        group.attached = true;
        group.found = None;
        group.fold.belong_to(vitals.who());
        group.instruments(provider);
    }

    pub(super) fn take_beat(&self, beat: &Beat) {
        let provider = self.provider();
        let mut groups = self.groups();
        let Some(group) = groups.get_mut(&beat.who.group) else { return };
        if let Some(instruments) = group.instruments(provider) {
            group.fold.beat(beat, &instruments);
        }
    }

    /// Where the trace of that group counts what it leaves out.
    pub(super) fn drops(&self, group: &GroupId) -> Arc<Drops> {
        Arc::clone(&self.groups().entry(group.clone()).or_insert_with(Measured::new).drops)
    }

    fn provider(&self) -> Provider {
        self.shared.given.clone().unwrap_or_else(global::meter_provider)
    }

    fn groups(&self) -> MutexGuard<'_, BTreeMap<GroupId, Measured>> {
        self.shared.groups.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Measured {
    fn new() -> Measured {
        Measured { fold: Fold::default(), vitals: None, attached: false, drops: Arc::default(), found: None }
    }

    /// Whose the event is. A machine without the driver of this crate has nobody who keeps its vital signs.
    fn know(&mut self, event: &Event) {
        let same =
            |vitals: &Arc<Vitals>| vitals.who().node == event.who.node && vitals.who().cluster == event.who.cluster;
        if !self.vitals.as_ref().is_some_and(same) {
            self.vitals = Some(Arc::new(Vitals::new(Arc::clone(&event.who), Arc::new(Workload::default()))));
            self.attached = false;
            self.found = None;
            self.fold.belong_to(&event.who);
        }
        if let Some(vitals) = self.vitals.as_ref().filter(|_| !self.attached) {
            vitals.set_state(event.role, event.term);
        }
    }

    /// The instruments of that provider, taken anew when it is another one: an instrument that was taken before the SDK
    /// was installed stays dead for ever.
    fn instruments(&mut self, provider: Provider) -> Option<Arc<Instruments>> {
        if let Some((known, instruments)) = &self.found
            && std::ptr::addr_eq(Arc::as_ptr(known), Arc::as_ptr(&provider))
        {
            return Some(Arc::clone(instruments));
        }
        let vitals = self.vitals.as_ref()?;
        let instruments = Instruments::of(&provider);
        instruments.watch(vitals, &self.drops, self.fold.attributes());
        self.found = Some((provider, Arc::clone(&instruments)));
        Some(instruments)
    }
}

impl Observer for Metrics {
    fn observe(&mut self, event: &Event) {
        self.record(event);
    }

    fn attach(&mut self, vitals: &Arc<Vitals>) {
        self.take_vitals(vitals);
    }

    fn beat(&mut self, beat: &Beat) {
        self.take_beat(beat);
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").field("given", &self.given.is_some()).finish_non_exhaustive()
    }
}
