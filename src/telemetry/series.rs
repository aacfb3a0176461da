//! Series whose names have gone: a route, an upstream, an endpoint or a listener that a reload took
//! away leaves the metrics page once the last exchange that counted for it has ended.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use prometheus::core::{MetricVec, MetricVecBuilder};
use prometheus::proto::MetricFamily;

/// Handles by what they are for, each made once and shared for as long as anybody has it.
pub(super) struct Owners<K, H>(Mutex<HashMap<K, Weak<H>>>);

impl<K, H> Default for Owners<K, H> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Eq + Hash, H> Owners<K, H> {
    /// The handles for `key`, made with `make` if nobody has them.
    pub(super) fn get(&self, key: K, make: impl FnOnce() -> H) -> Arc<H> {
        // Made under the lock: series that are being swept are not looked up meanwhile.
        let mut owners = self.lock();
        if let Some(handles) = owners.get(&key).and_then(Weak::upgrade) {
            return handles;
        }
        let handles = Arc::new(make());
        owners.insert(key, Arc::downgrade(&handles));
        handles
    }

    /// Forgets those that nobody has any more; while the result lives, none is made.
    pub(super) fn sweep(&self) -> Swept<'_, K, H> {
        let mut owners = self.lock();
        let before = owners.len();
        owners.retain(|_, handles| handles.strong_count() > 0);
        Swept { any: owners.len() < before, live: owners }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<K, Weak<H>>> {
        // Inserting and removing leave it whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a sweep has left.
pub(super) struct Swept<'a, K, H> {
    /// Something was forgotten.
    pub(super) any: bool,
    live: MutexGuard<'a, HashMap<K, Weak<H>>>,
}

impl<K, H> Swept<'_, K, H> {
    /// Whether one of those that are left is meant.
    pub(super) fn has(&self, is_meant: impl Fn(&K) -> bool) -> bool {
        self.live.keys().any(is_meant)
    }
}

/// A family from which series can be taken.
pub(super) trait Remove: Send + Sync {
    /// Takes the series with exactly these labels away, if there is one.
    fn remove_series(&self, labels: &HashMap<&str, &str>);
}

impl<B: MetricVecBuilder> Remove for MetricVec<B> {
    fn remove_series(&self, labels: &HashMap<&str, &str>) {
        // An error says that there is none.
        let _ = self.remove(labels);
    }
}

/// Takes away every series of `family` whose labels are not `live`.
pub(super) fn retain(
    from: &dyn Remove,
    family: &MetricFamily,
    live: impl Fn(&HashMap<&str, &str>) -> bool,
) {
    for metric in family.get_metric() {
        let labels = metric.get_label().iter().map(|label| (label.name(), label.value()));
        let labels = labels.collect();
        if !live(&labels) {
            from.remove_series(&labels);
        }
    }
}
