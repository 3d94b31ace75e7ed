//! How the index of lookups stands.

use std::{sync::atomic::AtomicU64, time::Duration};

use prometheus_client::{metrics::gauge::Gauge, registry::Registry};

/// The gauges of the index of lookups.
#[derive(Debug, Default)]
pub struct IndexGauges {
    entries: Gauge,
    bytes: Gauge,
    is_fresh: Gauge,
    age: Gauge<f64, AtomicU64>,
}

impl IndexGauges {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "bindery_lookup_index_entries",
            "Hashes of the current pepper that are kept in memory",
            self.entries.clone(),
        );
        registry.register(
            "bindery_lookup_index_bytes",
            "Memory that the hashes take, with those of the next pepper",
            self.bytes.clone(),
        );
        registry.register(
            "bindery_lookup_index_fresh",
            "Whether memory is in step with the database (1) or the database is asked (0)",
            self.is_fresh.clone(),
        );
        registry.register(
            "bindery_lookup_index_age_seconds",
            "How long ago memory was compared with the database",
            self.age.clone(),
        );
    }

    /// Says how it stands.
    pub fn set(&self, entries: usize, bytes: usize, is_fresh: bool, age: Option<Duration>) {
        let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        self.entries.set(number(entries));
        self.bytes.set(number(bytes));
        self.is_fresh.set(i64::from(is_fresh));
        self.age.set(age.map_or(f64::NAN, |age| age.as_secs_f64()));
    }
}
