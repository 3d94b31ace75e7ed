//! What monitoring reads of other identity servers that are asked. No label names one of them: who
//! makes up domains must not make up series.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

use super::Label;

/// By which API a peer was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Api {
    /// API v1.
    V1,
    /// API v2.
    V2,
}

/// What came of asking a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PeerOutcome {
    /// It answered.
    Answered,
    /// It doesn't speak that API.
    Absent,
    /// It refuses this server.
    Refused,
    /// Its terms have not been accepted.
    Terms,
    /// It was asked too much.
    Limited,
    /// It took too long.
    TimedOut,
    /// It couldn't be asked, or its answer makes no sense.
    Failed,
}

/// What became of addresses that are unknown here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PeerAddresses {
    /// Peers were to be asked about them.
    Asked,
    /// A peer knew them.
    Found,
    /// What peers said of them was remembered.
    Remembered,
}

/// What looking for a domain's identity server came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Discovery {
    /// It has one.
    Found,
    /// It has none.
    Nothing,
    /// It is this server.
    Ourselves,
    /// The domain couldn't be asked.
    Failed,
}

/// How much is remembered of peers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerMemory {
    /// Answers about addresses.
    pub answers: u64,
    /// About how many bytes these take.
    pub answer_bytes: u64,
    /// Peers.
    pub peers: u64,
    /// Domains whose identity server was looked for.
    pub domains: u64,
}

const APIS: [(Api, &str); 2] = [(Api::V1, "v1"), (Api::V2, "v2")];

const OUTCOMES: [(PeerOutcome, &str); 7] = [
    (PeerOutcome::Answered, "answered"),
    (PeerOutcome::Absent, "absent"),
    (PeerOutcome::Refused, "refused"),
    (PeerOutcome::Terms, "terms"),
    (PeerOutcome::Limited, "limited"),
    (PeerOutcome::TimedOut, "timed_out"),
    (PeerOutcome::Failed, "failed"),
];

const ADDRESSES: [(PeerAddresses, &str); 3] = [
    (PeerAddresses::Asked, "asked"),
    (PeerAddresses::Found, "found"),
    (PeerAddresses::Remembered, "remembered"),
];

const DISCOVERIES: [(Discovery, &str); 4] = [
    (Discovery::Found, "found"),
    (Discovery::Nothing, "nothing"),
    (Discovery::Ourselves, "ourselves"),
    (Discovery::Failed, "failed"),
];

/// The word for `value`.
fn word<T: PartialEq>(words: &[(T, &'static str)], value: &T) -> Label {
    Label(words.iter().find(|(of, _)| of == value).map_or("", |(_, word)| *word))
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct QuestionLabels {
    api: Label,
    outcome: Label,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabels {
    outcome: Label,
}

/// Counts and gauges about peers.
#[derive(Debug)]
pub struct PeerMetrics {
    questions: Family<QuestionLabels, Counter>,
    skipped: Counter,
    addresses: Family<OutcomeLabels, Counter>,
    discoveries: Family<OutcomeLabels, Counter>,
    answers: Gauge,
    answer_bytes: Gauge,
    peers: Gauge,
    domains: Gauge,
}

impl PeerMetrics {
    /// All at zero, as part of `registry`.
    pub(super) fn new(registry: &mut Registry) -> Self {
        let metrics = Self {
            questions: Family::default(),
            skipped: Counter::default(),
            addresses: Family::default(),
            discoveries: Family::default(),
            answers: Gauge::default(),
            answer_bytes: Gauge::default(),
            peers: Gauge::default(),
            domains: Gauge::default(),
        };
        metrics.register_counts(registry);
        metrics.register_memory(registry);
        // A rate can't be told of a series that begins with its first event.
        for (api, _) in APIS {
            for (outcome, _) in OUTCOMES {
                metrics.question(api, outcome).inc_by(0);
            }
        }
        for (outcome, _) in ADDRESSES {
            metrics.addresses(outcome, 0);
        }
        for (outcome, _) in DISCOVERIES {
            metrics.discovery(outcome).inc_by(0);
        }
        metrics
    }

    fn register_counts(&self, registry: &mut Registry) {
        registry.register(
            "bindery_peer_questions",
            "Times that another identity server was asked about addresses, by API and outcome",
            Family::clone(&self.questions),
        );
        registry.register(
            "bindery_peer_questions_skipped",
            "Times that another identity server was not asked since it had failed",
            Counter::clone(&self.skipped),
        );
        registry.register(
            "bindery_peer_addresses",
            "Addresses unknown here, by what became of them at other identity servers",
            Family::clone(&self.addresses),
        );
        registry.register(
            "bindery_peer_discoveries",
            "Times that the identity server of a domain was wanted, by outcome",
            Family::clone(&self.discoveries),
        );
    }

    fn register_memory(&self, registry: &mut Registry) {
        registry.register(
            "bindery_peer_answers",
            "Answers of other identity servers that are remembered",
            Gauge::clone(&self.answers),
        );
        registry.register(
            "bindery_peer_answer_bytes",
            "About how much memory these take",
            Gauge::clone(&self.answer_bytes),
        );
        registry.register(
            "bindery_peers",
            "Other identity servers of which something is remembered",
            Gauge::clone(&self.peers),
        );
        registry.register(
            "bindery_peer_domains",
            "Domains of which it is remembered where their identity server is",
            Gauge::clone(&self.domains),
        );
    }

    /// Counts that a peer was asked.
    pub fn asked(&self, api: Api, outcome: PeerOutcome) {
        self.question(api, outcome).inc();
    }

    /// Counts that a peer was left alone.
    pub fn skipped(&self) {
        self.skipped.inc();
    }

    /// Counts addresses.
    pub fn addresses(&self, outcome: PeerAddresses, count: usize) {
        let labels = OutcomeLabels { outcome: word(&ADDRESSES, &outcome) };
        let count = u64::try_from(count).unwrap_or(u64::MAX);
        self.addresses.get_or_create_owned(&labels).inc_by(count);
    }

    /// Counts that the identity server of a domain was wanted.
    pub fn discovered(&self, outcome: Discovery) {
        self.discovery(outcome).inc();
    }

    /// Says how much is remembered now.
    pub fn set_memory(&self, memory: PeerMemory) {
        let PeerMemory { answers, answer_bytes, peers, domains } = memory;
        for (gauge, value) in [
            (&self.answers, answers),
            (&self.answer_bytes, answer_bytes),
            (&self.peers, peers),
            (&self.domains, domains),
        ] {
            gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        }
    }

    fn question(&self, api: Api, outcome: PeerOutcome) -> Counter {
        let labels = QuestionLabels { api: word(&APIS, &api), outcome: word(&OUTCOMES, &outcome) };
        self.questions.get_or_create_owned(&labels)
    }

    fn discovery(&self, outcome: Discovery) -> Counter {
        let labels = OutcomeLabels { outcome: word(&DISCOVERIES, &outcome) };
        self.discoveries.get_or_create_owned(&labels)
    }
}
