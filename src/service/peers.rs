//! Asking other identity servers about what is unknown here: that of an address's own domain, then
//! those that the operator names.
//!
//! What they say is handed on, and nothing more: it is never stored as if it had been validated here,
//! never signed with a key of this server as an answer, and never used for login. What a peer asks
//! is never sent on, so that no question goes round in circles: who calls sees to that.

mod one;

use std::{
    collections::{HashMap, HashSet},
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
};

use futures_util::{StreamExt, stream};
use tokio::time::{Instant, timeout_at};

use crate::{
    app::{
        App,
        peers::{Claim, Known, Said},
    },
    cause::causes,
    federation::{Discovered, FederationError, PeerAddress, PeerError},
    matrix::{
        id::UserId,
        threepid::{LookupHash, ThreePid},
    },
    metrics::{Discovery, PeerAddresses},
    store::{StoreError, peppers},
};

/// How many domains are looked for, and how many peers asked, at the same time.
const AT_ONCE: usize = 32;

/// How many of the servers of one domain are tried.
const MAX_TARGETS: usize = 4;

/// An address with its lookup hash under this server's pepper.
type Item = (LookupHash, Arc<ThreePid>);

/// Whose the address with this hash is, as a peer says.
type Found = (LookupHash, Known);

/// Why a peer didn't answer.
#[derive(Debug, thiserror::Error)]
enum AskError {
    #[error(transparent)]
    Peer(#[from] PeerError),
    #[error("it refuses this server by API v2")]
    RefusesV2(#[source] PeerError),
    #[error("the database failed")]
    Store(#[from] StoreError),
}

/// Whose the addresses are, as far as peers know. Takes no longer than the time-out of peers in all;
/// a peer that fails or is slow is an answer less and no error.
///
/// # Errors
/// When the database fails.
pub async fn ask(
    app: &App,
    threepids: impl IntoIterator<Item = ThreePid>,
) -> Result<HashMap<ThreePid, UserId>, StoreError> {
    let peers = &app.config.peers;
    let mut threepids = threepids.into_iter().peekable();
    if (!peers.discover && peers.forward.is_empty()) || threepids.peek().is_none() {
        return Ok(HashMap::new());
    }
    let pepper = app.store.read(peppers::current).await?.ok_or(StoreError::NoPepper)?.pepper;
    let threepids: HashMap<LookupHash, Arc<ThreePid>> =
        threepids.map(|threepid| (threepid.lookup_hash(&pepper), threepid.into())).collect();
    let claim = app.peers.answers.claim(threepids.keys().copied());
    count(app, &claim, threepids.len());
    let question = Question::new(app, &claim);
    question.ask(&threepids).await;
    // Only now: what others ask about can't be known sooner by not asking one's own.
    drop(timeout_at(question.deadline, claim.others_are_done()).await);
    let answers = &app.peers.answers;
    let found =
        |(hash, threepid): Item| Some((Arc::unwrap_or_clone(threepid), answers.known(&hash)?.mxid));
    Ok(threepids.into_iter().filter_map(found).collect())
}

/// Tells monitoring how many of `all` addresses are asked for.
fn count(app: &App, claim: &Claim<'_>, all: usize) {
    let asked = claim.mine().len();
    app.metrics.peers.addresses(PeerAddresses::Asked, asked);
    app.metrics.peers.addresses(PeerAddresses::Remembered, all - asked - claim.others());
}

/// The domain of an address, where it has one.
fn domain_of(threepid: &ThreePid) -> Option<&str> {
    let (_, domain) = threepid.address().rsplit_once('@')?;
    Some(domain).filter(|domain| !domain.is_empty())
}

/// One question about many addresses.
struct Question<'a> {
    app: &'a App,
    claim: &'a Claim<'a>,
    began: Instant,
    deadline: Instant,
    progress: Mutex<Progress>,
}

/// What came of the addresses so far.
#[derive(Default)]
struct Progress {
    found: HashSet<LookupHash>,
    /// Somebody who might know them wasn't heard.
    in_doubt: HashSet<LookupHash>,
}

impl<'a> Question<'a> {
    fn new(app: &'a App, claim: &'a Claim<'a>) -> Self {
        let began = Instant::now();
        let deadline = began + app.config.peers.timeout;
        Self { app, claim, began, deadline, progress: Mutex::default() }
    }

    /// Asks about the addresses that nobody else asks about, and remembers what was said.
    async fn ask(&self, threepids: &HashMap<LookupHash, Arc<ThreePid>>) {
        let item = |hash: &LookupHash| Some((*hash, threepids.get(hash)?.clone()));
        let items: Vec<Item> = self.claim.mine().iter().filter_map(item).collect();
        if items.is_empty() {
            return;
        }
        let peers = &self.app.config.peers;
        if peers.discover {
            let mut of_domains: HashMap<String, Vec<Item>> = HashMap::new();
            for item in &items {
                if let Some(domain) = domain_of(&item.1) {
                    of_domains.entry(domain.to_owned()).or_default().push(item.clone());
                }
            }
            // A domain that doesn't answer must leave time for those who are asked next.
            let part = if peers.forward.is_empty() { 1 } else { 2 };
            self.ask_domains(of_domains, self.began + peers.timeout / part).await;
        }
        self.ask_forward(&items).await;
        self.settle(&items);
    }

    /// Asks the identity servers of domains. Those that are found soon are asked first, each about
    /// all of its domains at once; the others as they are found.
    async fn ask_domains(&self, domains: HashMap<String, Vec<Item>>, until: Instant) {
        let mut located = pin!(
            stream::iter(domains)
                .map(|(domain, items)| self.locate(domain, items, until))
                .buffer_unordered(AT_ONCE)
        );
        let soon = self.began + self.app.config.peers.timeout / 4;
        let mut early: HashMap<Vec<PeerAddress>, Vec<Item>> = HashMap::new();
        while let Ok(Some((peers, items))) = timeout_at(soon, located.next()).await {
            early.entry(peers).or_default().extend(items);
        }
        let early = stream::iter(early)
            .map(|group| self.ask_group(group, until))
            .buffer_unordered(AT_ONCE)
            .collect::<()>();
        let late = located
            .map(|group| self.ask_group(group, until))
            .buffer_unordered(AT_ONCE)
            .collect::<()>();
        tokio::join!(early, late);
    }

    async fn ask_group(&self, (peers, items): (Vec<PeerAddress>, Vec<Item>), until: Instant) {
        self.ask_one_of(&peers, &items, until).await;
    }

    /// The identity servers of a domain, with the addresses that they are asked about.
    async fn locate(
        &self,
        domain: String,
        items: Vec<Item>,
        until: Instant,
    ) -> (Vec<PeerAddress>, Vec<Item>) {
        if Instant::now() >= until {
            self.doubt(&items);
            return (Vec::new(), items);
        }
        let found = timeout_at(until, self.app.federation.identity_server(&domain)).await;
        let found = found.unwrap_or(Err(FederationError::TimedOut));
        self.app.metrics.peers.discovered(discovery(&found));
        match found {
            Ok(Discovered::At(peers, _)) => (peers, items),
            Ok(Discovered::Nothing | Discovered::Ourselves) => (Vec::new(), items),
            Err(error) => {
                tracing::debug!(domain, error = causes(&error), "no identity server was found");
                self.doubt(&items);
                (Vec::new(), items)
            }
        }
    }

    /// Asks the servers that the operator names, one after the other, about what is still unknown.
    async fn ask_forward(&self, items: &[Item]) {
        let forward = &self.app.config.peers.forward;
        let addresses = forward.iter().filter_map(|url| PeerAddress::of_operator(url).ok());
        for (index, address) in addresses.enumerate() {
            let items = self.unknown(items);
            if items.is_empty() {
                return;
            }
            let until = share(self.deadline, forward.len() - index);
            self.ask_one_of(&[address], &items, until).await;
        }
    }

    /// Asks the first of several servers that answers.
    async fn ask_one_of(&self, peers: &[PeerAddress], items: &[Item], until: Instant) {
        let count = peers.len().min(MAX_TARGETS);
        for (index, address) in peers.iter().take(MAX_TARGETS).enumerate() {
            if self.ask_peer(address, items, share(until, count - index)).await {
                return;
            }
        }
        if count > 0 {
            self.doubt(items);
        }
    }

    /// Asks one server; answers whether it answered.
    async fn ask_peer(&self, address: &PeerAddress, items: &[Item], until: Instant) -> bool {
        let Some(found) = one::ask(self.app, address, items, until).await else { return false };
        let mut progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        for (hash, known) in found {
            progress.found.insert(hash);
            self.claim.keep(hash, Said::Found(known));
        }
        true
    }

    fn doubt(&self, items: &[Item]) {
        let mut progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        progress.in_doubt.extend(items.iter().map(|(hash, _)| *hash));
    }

    fn unknown(&self, items: &[Item]) -> Vec<Item> {
        let progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        items.iter().filter(|(hash, _)| !progress.found.contains(hash)).cloned().collect()
    }

    /// Remembers of the addresses that nobody knew that it was so.
    fn settle(&self, items: &[Item]) {
        for (hash, _) in self.unknown(items) {
            let progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
            let is_in_doubt = progress.in_doubt.contains(&hash);
            drop(progress);
            self.claim.keep(hash, if is_in_doubt { Said::Unsure } else { Said::Nobody });
        }
    }
}

fn discovery(found: &Result<Discovered, FederationError>) -> Discovery {
    match found {
        Ok(Discovered::At(..)) => Discovery::Found,
        Ok(Discovered::Nothing) => Discovery::Nothing,
        Ok(Discovered::Ourselves) => Discovery::Ourselves,
        Err(_) => Discovery::Failed,
    }
}

/// Until when one of `count` may take, of the time until `until`.
fn share(until: Instant, count: usize) -> Instant {
    let now = Instant::now();
    let count = u32::try_from(count).unwrap_or(u32::MAX).max(1);
    now + until.saturating_duration_since(now) / count
}
