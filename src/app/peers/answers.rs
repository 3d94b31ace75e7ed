//! What peers said of addresses, for a while, and which addresses they are being asked about.

use std::{
    collections::HashMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use moka::sync::Cache;
use tokio::sync::watch;

use crate::{
    clock::{SharedClock, millis},
    matrix::{id::UserId, json::Object, threepid::LookupHash},
};

/// What peers say of an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// It is somebody's.
    Found(Known),
    /// Nobody's, as far as they know.
    Nobody,
    /// Not all of them could be asked, and the others know nobody.
    Unsure,
}

/// Whose an address is, as a peer says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// The user.
    pub mxid: UserId,
    /// The association that the peer has signed, where it was asked by API v1.
    pub proof: Option<Proof>,
}

/// An association as its origin signed it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    /// As JSON; `None` if it is too long to be remembered.
    signed: Option<Box<str>>,
    /// Until when it holds, in milliseconds since the Unix epoch.
    not_after: i64,
}

/// The longest association that is remembered, in bytes.
const LONGEST_PROOF: usize = 4096;

impl Proof {
    /// That of an association, signed by whoever it is.
    #[must_use]
    pub fn new(association: &Object, not_after: i64) -> Self {
        let signed = serde_json::to_string(association).ok();
        let signed = signed.filter(|signed| signed.len() <= LONGEST_PROOF);
        Self { signed: signed.map(Into::into), not_after }
    }

    /// The association, unchanged.
    #[must_use]
    pub fn association(&self) -> Option<Object> {
        serde_json::from_str(self.signed.as_deref()?).ok()
    }

    fn length(&self) -> usize {
        self.signed.as_ref().map_or(0, |signed| signed.len())
    }
}

impl Said {
    /// How long it is believed without asking again.
    fn holds_for(&self) -> Duration {
        match self {
            Self::Found(_) => Duration::from_hours(1),
            Self::Nobody => Duration::from_mins(5),
            // No longer than a peer that fails is left alone at first.
            Self::Unsure => Duration::from_secs(30),
        }
    }

    /// Until when it is believed if it is said at `now_ms`: what is signed, no longer than it holds.
    fn holds_until(&self, now_ms: i64) -> i64 {
        let until_ms = now_ms.saturating_add(millis(self.holds_for()));
        match self {
            Self::Found(Known { proof: Some(proof), .. }) => {
                until_ms.min(proof.not_after.saturating_add(1))
            }
            Self::Found(_) | Self::Nobody | Self::Unsure => until_ms,
        }
    }

    /// About what it takes in memory, in bytes.
    fn weight(&self) -> u32 {
        let more = match self {
            Self::Found(Known { mxid, proof }) => {
                mxid.as_str().len() * 2 + proof.as_ref().map_or(0, Proof::length)
            }
            Self::Nobody | Self::Unsure => 0,
        };
        u32::try_from(160 + more).unwrap_or(u32::MAX).max(LIGHTEST)
    }
}

/// The least that an answer counts for, in bytes.
const LIGHTEST: u32 = 256;

/// The most that is remembered, in bytes: 200,000 answers.
const HEAVIEST: u64 = 200_000 * LIGHTEST as u64;

/// Remembers answers by the lookup hash of their address under the current pepper, so that no
/// address stays in memory, and what was asked in plain is found by its hash as well. With the pepper
/// the answers of before are forgotten.
pub struct Answers {
    said: Cache<LookupHash, (Said, i64)>,
    was_told: AtomicBool,
    asked: Mutex<HashMap<LookupHash, watch::Receiver<()>>>,
    clock: SharedClock,
}

impl Answers {
    pub(super) fn new(clock: SharedClock) -> Self {
        let said = Cache::builder()
            .max_capacity(HEAVIEST)
            .weigher(|_, (said, _): &(Said, i64)| said.weight())
            .build();
        Self { said, was_told: AtomicBool::new(false), asked: Mutex::default(), clock }
    }

    /// What was said of an address, if that is still believed.
    #[must_use]
    pub fn get(&self, hash: &LookupHash) -> Option<Said> {
        let (said, until_ms) = self.said.get(hash)?;
        (self.clock.now_ms() < until_ms).then_some(said)
    }

    /// Whether nothing was ever said: the cache's own count lags behind what is in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        !self.was_told.load(Ordering::Acquire)
    }

    /// Whose an address is, if somebody said so and that is still believed.
    #[must_use]
    pub fn known(&self, hash: &LookupHash) -> Option<Known> {
        match self.get(hash)? {
            Said::Found(known) => Some(known),
            Said::Nobody | Said::Unsure => None,
        }
    }

    /// How many answers are remembered, and about how many bytes they take.
    #[must_use]
    pub fn size(&self) -> (u64, u64) {
        self.said.run_pending_tasks();
        (self.said.entry_count(), self.said.weighted_size())
    }

    /// Sorts addresses by whether an answer is known, somebody is asking, or the caller has to.
    pub fn claim(&self, hashes: impl IntoIterator<Item = LookupHash>) -> Claim<'_> {
        let (sender, receiver) = watch::channel(());
        let mut claim = Claim { answers: self, sender, mine: Vec::new(), others: Vec::new() };
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        for hash in hashes {
            // Looked at under the lock: whoever asks stores the answer first and then ceases to ask.
            if self.get(&hash).is_some() {
                continue;
            }
            if let Some(other) = asked.get(&hash) {
                claim.others.push((hash, other.clone()));
            } else {
                asked.insert(hash, receiver.clone());
                claim.mine.push(hash);
            }
        }
        drop(asked);
        claim
    }

    fn is_asked(&self, hash: &LookupHash) -> bool {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).contains_key(hash)
    }
}

/// The addresses that one caller asks about, so that nobody else does meanwhile.
pub struct Claim<'a> {
    answers: &'a Answers,
    sender: watch::Sender<()>,
    mine: Vec<LookupHash>,
    others: Vec<(LookupHash, watch::Receiver<()>)>,
}

impl Claim<'_> {
    /// What the caller has to ask about.
    #[must_use]
    pub fn mine(&self) -> &[LookupHash] {
        &self.mine
    }

    /// About how many others ask.
    #[must_use]
    pub fn others(&self) -> usize {
        self.others.len()
    }

    /// Remembers what was said of an address.
    pub fn keep(&self, hash: LookupHash, said: Said) {
        let until_ms = said.holds_until(self.answers.clock.now_ms());
        self.answers.said.insert(hash, (said, until_ms));
        self.answers.was_told.store(true, Ordering::Release);
        self.answers.asked.lock().unwrap_or_else(PoisonError::into_inner).remove(&hash);
        self.sender.send_replace(());
    }

    /// Waits until nobody else is asking about the other addresses.
    pub async fn others_are_done(&self) {
        for (hash, receiver) in &self.others {
            // Another one may have begun to ask after the first gave up; that isn't waited for.
            let mut receiver = receiver.clone();
            while self.answers.is_asked(hash) && receiver.changed().await.is_ok() {}
        }
    }
}

/// Who gave up asks no more.
impl Drop for Claim<'_> {
    fn drop(&mut self) {
        let own = self.sender.subscribe();
        let mut asked = self.answers.asked.lock().unwrap_or_else(PoisonError::into_inner);
        for hash in &self.mine {
            if asked.get(hash).is_some_and(|of| of.same_channel(&own)) {
                asked.remove(hash);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use futures_util::FutureExt;

    use super::*;
    use crate::clock::{Clock, ManualClock};

    fn answers() -> (Answers, Arc<ManualClock>) {
        let clock = Arc::new(ManualClock::at(1_700_000_000_000));
        (Answers::new(clock.clone()), clock)
    }

    fn alice() -> Said {
        Said::Found(Known { mxid: "@alice:hs.example".parse().unwrap(), proof: None })
    }

    #[test]
    fn an_answer_is_believed_for_its_time() {
        for (said, seconds) in [(alice(), 3600), (Said::Nobody, 300), (Said::Unsure, 30)] {
            let (answers, clock) = answers();
            answers.claim([[1; 32]]).keep([1; 32], said.clone());
            clock.advance(Duration::from_millis(seconds * 1000 - 1));
            assert_eq!(answers.get(&[1; 32]), Some(said));
            clock.advance(Duration::from_millis(1));
            assert_eq!(answers.get(&[1; 32]), None);
            assert_eq!(answers.claim([[1; 32]]).mine(), [[1; 32]]);
        }
    }

    #[test]
    fn what_is_signed_is_believed_no_longer_than_it_holds() {
        let (answers, clock) = answers();
        let association = Object::from_iter([("medium".to_owned(), "email".into())]);
        let proof = Proof::new(&association, clock.now_ms() + 1000);
        assert_eq!(proof.association(), Some(association));
        let mxid = "@alice:hs.example".parse().unwrap();
        answers.claim([[1; 32]]).keep([1; 32], Said::Found(Known { mxid, proof: Some(proof) }));
        clock.advance(Duration::from_secs(1));
        assert!(answers.known(&[1; 32]).is_some());
        clock.advance(Duration::from_millis(1));
        assert_eq!(answers.known(&[1; 32]), None);
    }

    #[test]
    fn an_association_that_is_very_long_is_not_remembered() {
        let long = "x".repeat(LONGEST_PROOF);
        let proof = Proof::new(&Object::from_iter([("mxid".to_owned(), long.into())]), 0);
        assert_eq!((proof.association(), proof.length()), (None, 0));
    }

    #[test]
    fn one_asks_and_the_others_wait_until_that_one_is_answered() {
        let (answers, _) = answers();
        let first = answers.claim([[1; 32], [2; 32]]);
        let second = answers.claim([[1; 32], [3; 32]]);
        assert_eq!((first.mine(), second.mine()), (&[[1; 32], [2; 32]][..], &[[3; 32]][..]));
        assert!(second.others_are_done().now_or_never().is_none());
        first.keep([2; 32], Said::Nobody);
        assert!(second.others_are_done().now_or_never().is_none());
        first.keep([1; 32], alice());
        assert!(second.others_are_done().now_or_never().is_some());
        assert_eq!(answers.get(&[1; 32]), Some(alice()));
        assert!(answers.claim([[1; 32], [2; 32]]).mine().is_empty());
    }

    #[test]
    fn who_gives_up_leaves_the_question_to_others() {
        let (answers, _) = answers();
        let first = answers.claim([[1; 32]]);
        let second = answers.claim([[1; 32]]);
        drop(first);
        assert!(second.others_are_done().now_or_never().is_some());
        assert_eq!(answers.claim([[1; 32]]).mine(), [[1; 32]]);
    }

    #[test]
    fn memory_is_bounded() {
        let (answers, _) = answers();
        let claim = answers.claim([]);
        for number in 0..250_000_u32 {
            let mut hash = [0; 32];
            hash[..4].copy_from_slice(&number.to_be_bytes());
            claim.keep(hash, Said::Nobody);
        }
        answers.said.run_pending_tasks();
        assert!(answers.said.weighted_size() <= HEAVIEST);
        assert!(answers.said.entry_count() <= 200_000);
    }
}
