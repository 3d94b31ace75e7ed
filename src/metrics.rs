//! What monitoring reads: counts of messages, and how far the day's budget of text messages is
//! spent, in the text format of Prometheus and `OpenMetrics`.

mod directories;
mod index;
mod peers;

use prometheus_client::{
    encoding::{EncodeLabelSet, EncodeLabelValue, text},
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

pub use self::directories::{Answered, DirectoryCounts, Question};
pub use self::index::IndexGauges;
pub use self::peers::{Api, Discovery, PeerAddresses, PeerMemory, PeerMetrics, PeerOutcome};

/// The `Content-Type` of [`Metrics::encode`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What became of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The transport took it.
    Sent,
    /// It was not let out, or the transport refuses its address.
    Refused,
    /// The transport failed.
    Failed,
}

/// Why a text message was not let out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SmsReason {
    /// The operator allows none to that country.
    Country,
    /// No person has a number of that kind.
    Kind,
    /// The number belongs to no country.
    Satellite,
    /// The number had too many.
    AddressLimit,
    /// The client's network asked for too many.
    NetworkLimit,
    /// The account asked for too many.
    AccountLimit,
    /// The numbers beside it had too many.
    PrefixLimit,
    /// The country had too many that day.
    CountryDay,
    /// All countries together had too many that day.
    Budget,
}

impl Outcome {
    const ALL: [Self; 3] = [Self::Sent, Self::Refused, Self::Failed];

    fn as_str(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Refused => "refused",
            Self::Failed => "failed",
        }
    }
}

impl SmsReason {
    const ALL: [Self; 9] = [
        Self::Country,
        Self::Kind,
        Self::Satellite,
        Self::AddressLimit,
        Self::NetworkLimit,
        Self::AccountLimit,
        Self::PrefixLimit,
        Self::CountryDay,
        Self::Budget,
    ];

    fn as_str(self) -> &'static str {
        match self {
            Self::Country => "country",
            Self::Kind => "kind",
            Self::Satellite => "satellite",
            Self::AddressLimit => "address_limit",
            Self::NetworkLimit => "network_limit",
            Self::AccountLimit => "account_limit",
            Self::PrefixLimit => "prefix_limit",
            Self::CountryDay => "country_day",
            Self::Budget => "budget",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct MessageLabels {
    medium: String,
    outcome: Label,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RefusalLabels {
    reason: Label,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct NeighbourLabels {
    neighbour: String,
    outcome: Label,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct NameLabels {
    neighbour: String,
}

/// One of few values that the program itself knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Label(&'static str);

impl EncodeLabelValue for Label {
    fn encode(
        &self,
        encoder: &mut prometheus_client::encoding::LabelValueEncoder<'_>,
    ) -> Result<(), std::fmt::Error> {
        self.0.encode(encoder)
    }
}

/// All counts and gauges.
#[derive(Debug)]
pub struct Metrics {
    /// What is about other identity servers that are asked.
    pub peers: PeerMetrics,
    registry: Registry,
    messages: Family<MessageLabels, Counter>,
    sms_refused: Family<RefusalLabels, Counter>,
    sms_today: Gauge,
    sms_budget_exhausted: Gauge,
    replication_received: Family<NeighbourLabels, Counter>,
    replication_pushes: Family<NeighbourLabels, Counter>,
    directories: DirectoryCounts,
    replication_set_aside: Family<NameLabels, Counter>,
    lookup_index: IndexGauges,
}

/// What became of what a neighbour sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Received {
    /// It was taken.
    Taken,
    /// It was known, or older than what was known.
    Known,
    /// It can't be believed.
    Quarantined,
}

impl Received {
    const ALL: [Self; 3] = [Self::Taken, Self::Known, Self::Quarantined];

    fn as_str(self) -> &'static str {
        match self {
            Self::Taken => "taken",
            Self::Known => "known",
            Self::Quarantined => "quarantined",
        }
    }
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::default();
        let (messages, sms_refused) = (Family::default(), Family::default());
        let (sms_today, sms_budget_exhausted) = (Gauge::default(), Gauge::default());
        registry.register(
            "bindery_messages",
            "Messages to people, by medium and by what became of them",
            Family::clone(&messages),
        );
        registry.register(
            "bindery_sms_refused",
            "Text messages that were not let out, by reason",
            Family::clone(&sms_refused),
        );
        registry.register(
            "bindery_sms_today",
            "Text messages counted against the budget of this UTC day, on all nodes",
            Gauge::clone(&sms_today),
        );
        registry.register(
            "bindery_sms_budget_exhausted",
            "Whether the budget of this UTC day is spent (1) or not (0)",
            Gauge::clone(&sms_budget_exhausted),
        );
        let (replication_received, replication_pushes) = (Family::default(), Family::default());
        registry.register(
            "bindery_replication_received",
            "Associations and removals that neighbours sent, by what became of them",
            Family::clone(&replication_received),
        );
        registry.register(
            "bindery_replication_pushes",
            "Requests that told neighbours of binds and unbinds, by outcome",
            Family::clone(&replication_pushes),
        );
        let directories = DirectoryCounts::default();
        directories.register(&mut registry);
        let replication_set_aside = Family::default();
        registry.register(
            "bindery_replication_set_aside",
            "Binds and unbinds that a neighbour refused until they were set aside",
            Family::clone(&replication_set_aside),
        );
        let lookup_index = IndexGauges::default();
        lookup_index.register(&mut registry);
        let metrics = Self {
            peers: PeerMetrics::new(&mut registry),
            registry,
            directories,
            messages,
            sms_refused,
            sms_today,
            sms_budget_exhausted,
            replication_received,
            replication_pushes,
            replication_set_aside,
            lookup_index,
        };
        // A rate can't be told of a series that begins with its first event.
        for reason in SmsReason::ALL {
            metrics.sms_refusals(reason).inc_by(0);
        }
        metrics.know_medium("email");
        metrics.know_medium("msisdn");
        metrics
    }
}

impl Metrics {
    /// Shows the counts of a medium before its first message.
    pub fn know_medium(&self, medium: &str) {
        for outcome in Outcome::ALL {
            self.messages_of(medium, outcome).inc_by(0);
        }
    }

    /// Counts a message.
    pub fn message(&self, medium: &str, outcome: Outcome) {
        self.messages_of(medium, outcome).inc();
    }

    /// Counts a text message that was not let out.
    pub fn sms_refusal(&self, reason: SmsReason) {
        self.sms_refusals(reason).inc();
    }

    /// Says how many text messages the day had, and whether that is all of its budget.
    pub fn set_sms_today(&self, count: i64, is_exhausted: bool) {
        self.sms_today.set(count);
        self.sms_budget_exhausted.set(i64::from(is_exhausted));
    }

    /// Shows the counts of a neighbour before it was told or has told anything.
    pub fn know_neighbour(&self, name: &str) {
        for outcome in Received::ALL {
            self.received(name, outcome, 0);
        }
        for is_taken in [true, false] {
            self.pushes_of(name, is_taken).inc_by(0);
        }
        self.set_aside(name, 0);
    }

    /// Counts what a neighbour sent.
    pub fn received(&self, neighbour: &str, outcome: Received, count: u64) {
        let outcome = Label(outcome.as_str());
        let labels = NeighbourLabels { neighbour: neighbour.to_owned(), outcome };
        self.replication_received.get_or_create_owned(&labels).inc_by(count);
    }

    /// Counts a request to a neighbour, which took it or didn't.
    pub fn pushed(&self, neighbour: &str, is_taken: bool) {
        self.pushes_of(neighbour, is_taken).inc();
    }

    /// Counts what was set aside since a neighbour refuses it.
    pub fn set_aside(&self, neighbour: &str, count: usize) {
        let labels = NameLabels { neighbour: neighbour.to_owned() };
        let count = u64::try_from(count).unwrap_or(u64::MAX);
        self.replication_set_aside.get_or_create_owned(&labels).inc_by(count);
    }

    fn pushes_of(&self, neighbour: &str, is_taken: bool) -> Counter {
        let outcome = Label(if is_taken { "taken" } else { "failed" });
        let labels = NeighbourLabels { neighbour: neighbour.to_owned(), outcome };
        self.replication_pushes.get_or_create_owned(&labels)
    }

    /// The gauges of the index of lookups.
    #[must_use]
    pub fn index(&self) -> &IndexGauges {
        &self.lookup_index
    }

    /// The counts of directories.
    #[must_use]
    pub fn directories(&self) -> &DirectoryCounts {
        &self.directories
    }

    /// All of it as text.
    ///
    /// # Errors
    /// Never, as far as the text format goes.
    pub fn encode(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        text::encode(&mut text, &self.registry)?;
        Ok(text)
    }

    fn messages_of(&self, medium: &str, outcome: Outcome) -> Counter {
        let labels = MessageLabels { medium: medium.to_owned(), outcome: Label(outcome.as_str()) };
        self.messages.get_or_create_owned(&labels)
    }

    fn sms_refusals(&self, reason: SmsReason) -> Counter {
        self.sms_refused.get_or_create_owned(&RefusalLabels { reason: Label(reason.as_str()) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_and_gauges_are_told_as_text() {
        let metrics = Metrics::default();
        metrics.message("msisdn", Outcome::Sent);
        metrics.message("msisdn", Outcome::Sent);
        metrics.sms_refusal(SmsReason::PrefixLimit);
        metrics.set_sms_today(7, true);
        let text = metrics.encode().unwrap();
        for line in [
            "# TYPE bindery_messages counter",
            "bindery_messages_total{medium=\"msisdn\",outcome=\"sent\"} 2",
            "bindery_sms_refused_total{reason=\"prefix_limit\"} 1",
            "bindery_sms_today 7",
            "bindery_sms_budget_exhausted 1",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}: {text}");
        }
        assert!(text.ends_with("# EOF\n"));
    }

    #[test]
    fn every_count_is_there_from_the_start() {
        let text = Metrics::default().encode().unwrap();
        for outcome in Outcome::ALL {
            for medium in ["email", "msisdn"] {
                let labels = format!("medium=\"{medium}\",outcome=\"{}\"", outcome.as_str());
                assert!(text.contains(&format!("bindery_messages_total{{{labels}}} 0\n")));
            }
        }
        for reason in SmsReason::ALL {
            let line = format!("bindery_sms_refused_total{{reason=\"{}\"}} 0\n", reason.as_str());
            assert!(text.contains(&line), "{text}");
        }
    }
}
