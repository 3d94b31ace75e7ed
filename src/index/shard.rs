//! A part of the table: buckets of a cache line each, and the user ids that they point to.

use super::Parts;

/// How many entries a bucket holds.
const SLOTS: usize = 5;

/// What fits into a cache line: a probe costs one access to the memory, seldom two.
#[derive(Debug, Clone, Copy, Default)]
#[repr(align(64))]
struct Bucket {
    tags: [u64; SLOTS],
    /// Eight more bits of the hash above 24 that say what stands there.
    values: [u32; SLOTS],
    /// How many entries would belong here or before and lie behind, because it was full: where
    /// there are none, a search ends here.
    passed: u32,
}

/// An empty slot.
const EMPTY: u32 = 0;

/// The bits of a value that say what stands there.
const MEANING: u32 = (1 << EXTRA_SHIFT) - 1;
const EXTRA_SHIFT: u32 = 24;

/// For this one the database has to be asked; others are one more than where the text begins.
const ASK: u32 = MEANING;

/// What a slot holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Value {
    Ask,
    /// Where the user id lies.
    User(u32),
}

impl Value {
    fn of(slot: u32) -> Option<Self> {
        match slot & MEANING {
            EMPTY => None,
            ASK => Some(Self::Ask),
            next => Some(Self::User(next - 1)),
        }
    }
}

/// How full the buckets may be before there are more of them, in percent. Above that, many would
/// have passed entries on.
const FULLEST: usize = 85;

/// By what part buckets grow, and by what part the text: little at a time, since what isn't in use
/// is wasted. Copying takes as many times the work of filling.
const GROWTH: usize = 8;
const TEXT_GROWTH: usize = 16;

/// How much text may be garbage before it is written anew, in bytes.
const LEAST_GARBAGE: usize = 4096;

/// The part of the hashes that begin with the same byte.
#[derive(Debug)]
pub(super) struct Shard {
    buckets: Vec<Bucket>,
    len: usize,
    /// Of each user: the number of the server (7 bits a byte, the lowest first, the last one below
    /// 128), the length of the localpart, the localpart.
    text: Vec<u8>,
    /// How much of `text` is nobody's any more.
    garbage: usize,
}

impl Shard {
    /// An empty one with room for `expected`. They begin with different sizes by their `number`, so
    /// that not all of them grow at the same time.
    pub(super) fn new(number: u32, expected: usize) -> Self {
        let needed = expected * 100 / (SLOTS * (FULLEST - 2)) + 1;
        let odd = number as usize % 8;
        let buckets = if needed < 64 { 64 + odd } else { needed };
        Self { buckets: vec![Bucket::default(); buckets], len: 0, text: Vec::new(), garbage: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn bytes(&self) -> usize {
        self.buckets.capacity() * size_of::<Bucket>() + self.text.capacity() + size_of::<Self>()
    }

    fn home(&self, parts: Parts) -> usize {
        home(parts.tag, self.buckets.len())
    }

    /// Some bits of the bucket where a search would begin.
    pub(super) fn touch(&self, parts: Parts) -> u64 {
        self.buckets.get(self.home(parts)).map_or(0, |bucket| u64::from(bucket.passed))
    }

    pub(super) fn find(&self, parts: Parts) -> Option<Value> {
        let (at, slot) = self.position(parts)?;
        self.buckets.get(at)?.values.get(slot).and_then(|value| Value::of(*value))
    }

    /// The bucket and the slot of an entry.
    fn position(&self, parts: Parts) -> Option<(usize, usize)> {
        let mut at = self.home(parts);
        for _ in 0..self.buckets.len() {
            let bucket = self.buckets.get(at)?;
            let is_it = |(tag, value): (&u64, &u32)| {
                *tag == parts.tag
                    && *value != EMPTY
                    && value >> EXTRA_SHIFT == u32::from(parts.extra)
            };
            if let Some(slot) = bucket.tags.iter().zip(&bucket.values).position(is_it) {
                return Some((at, slot));
            }
            if bucket.passed == 0 {
                return None;
            }
            at = after(at, self.buckets.len());
        }
        None
    }

    pub(super) fn set_ask(&mut self, parts: Parts) {
        self.set(parts, ASK);
    }

    pub(super) fn set_user(&mut self, parts: Parts, server: u32, localpart: &[u8]) {
        let known = match self.find(parts) {
            Some(Value::User(offset)) => self.user(offset) == (server, localpart),
            _ => false,
        };
        if known {
            return;
        }
        // Longer ones don't exist, nor does so much text.
        let length = u8::try_from(localpart.len()).ok();
        let (Some(length), Ok(offset)) = (length, u32::try_from(self.text.len())) else {
            return self.set_ask(parts);
        };
        if offset + 1 >= ASK {
            return self.set_ask(parts);
        }
        self.reserve_text(localpart.len());
        append(&mut self.text, server, length, localpart);
        self.set(parts, offset + 1);
    }

    fn set(&mut self, parts: Parts, meaning: u32) {
        let value = u32::from(parts.extra) << EXTRA_SHIFT | meaning;
        if let Some((at, slot)) = self.position(parts) {
            self.replace(at, slot, value);
        } else {
            if (self.len + 1) * 100 > self.buckets.len() * SLOTS * FULLEST {
                self.grow();
            }
            insert(&mut self.buckets, parts.tag, value);
            self.len += 1;
        }
        self.collect_garbage();
    }

    pub(super) fn remove(&mut self, parts: Parts) {
        let Some((at, slot)) = self.position(parts) else { return };
        self.replace(at, slot, EMPTY);
        self.len -= 1;
        let mut passing = self.home(parts);
        while passing != at {
            if let Some(bucket) = self.buckets.get_mut(passing) {
                bucket.passed -= 1;
            }
            passing = after(passing, self.buckets.len());
        }
        self.collect_garbage();
    }

    fn replace(&mut self, at: usize, slot: usize, value: u32) {
        let old = self.buckets.get_mut(at).and_then(|bucket| bucket.values.get_mut(slot));
        let old = old.map_or(EMPTY, |old| std::mem::replace(old, value));
        if let Some(Value::User(offset)) = Value::of(old) {
            self.garbage += record(&self.text, offset).map_or(0, |record| record.bytes.len());
        }
    }

    fn grow(&mut self) {
        let more = self.buckets.len() + self.buckets.len() / GROWTH + 1;
        let old = std::mem::replace(&mut self.buckets, vec![Bucket::default(); more]);
        for bucket in &old {
            for (tag, value) in bucket.tags.iter().zip(&bucket.values) {
                if *value != EMPTY {
                    insert(&mut self.buckets, *tag, *value);
                }
            }
        }
    }

    fn reserve_text(&mut self, localpart: usize) {
        let needed = localpart + LONGEST_HEAD;
        if self.text.capacity() - self.text.len() < needed {
            self.text.reserve_exact(needed + self.text.len() / TEXT_GROWTH);
        }
    }

    fn collect_garbage(&mut self) {
        if self.garbage <= LEAST_GARBAGE || self.garbage * 4 <= self.text.len() {
            return;
        }
        let old = std::mem::take(&mut self.text);
        let left = old.len() - self.garbage;
        self.text.reserve_exact(left + left / TEXT_GROWTH);
        self.garbage = 0;
        for value in self.buckets.iter_mut().flat_map(|bucket| &mut bucket.values) {
            let Some(Value::User(offset)) = Value::of(*value) else { continue };
            // No text is longer than the one that it came from.
            let moved = u32::try_from(self.text.len()).unwrap_or(0) + 1;
            if let Some(record) = record(&old, offset) {
                self.text.extend_from_slice(record.bytes);
            }
            *value = (*value & !MEANING) | moved;
        }
    }

    /// The number of the server and the localpart that lie at `offset`.
    pub(super) fn user(&self, offset: u32) -> (u32, &[u8]) {
        record(&self.text, offset).map_or((0, &[]), |record| (record.server, record.localpart))
    }
}

/// Where the search for a tag begins among `count` buckets: in proportion to its upper half, so
/// that there can be any number of them.
fn home(tag: u64, count: usize) -> usize {
    usize::try_from((tag >> 32).wrapping_mul(count as u64) >> 32).unwrap_or(0)
}

fn after(at: usize, count: usize) -> usize {
    if at + 1 < count { at + 1 } else { 0 }
}

/// Puts an entry that isn't there into the first free slot from its home on.
fn insert(buckets: &mut [Bucket], tag: u64, value: u32) {
    let count = buckets.len();
    let mut at = home(tag, count);
    for _ in 0..count {
        let Some(bucket) = buckets.get_mut(at) else { return };
        let mut slots = bucket.tags.iter_mut().zip(&mut bucket.values);
        if let Some(slot) = slots.find(|(_, value)| **value == EMPTY) {
            (*slot.0, *slot.1) = (tag, value);
            return;
        }
        bucket.passed += 1;
        at = after(at, count);
    }
}

/// What lies in front of a localpart at most, in bytes.
const LONGEST_HEAD: usize = 6;

/// A user id as it lies in the text.
struct Record<'a> {
    server: u32,
    localpart: &'a [u8],
    /// All of it.
    bytes: &'a [u8],
}

fn append(text: &mut Vec<u8>, server: u32, length: u8, localpart: &[u8]) {
    let mut rest = server;
    loop {
        let [low, ..] = rest.to_le_bytes();
        rest >>= 7;
        if rest == 0 {
            text.push(low & 0x7f);
            break;
        }
        text.push(low | 0x80);
    }
    text.push(length);
    text.extend_from_slice(localpart);
}

fn record(text: &[u8], offset: u32) -> Option<Record<'_>> {
    let from = text.get(usize::try_from(offset).ok()?..)?;
    let last = from.iter().position(|byte| byte & 0x80 == 0)?;
    let (number, rest) = from.split_at_checked(last + 1)?;
    let server = number.iter().rev().fold(0, |sum, byte| sum << 7 | u32::from(byte & 0x7f));
    let (length, rest) = rest.split_first()?;
    let localpart = rest.get(..usize::from(*length))?;
    Some(Record { server, localpart, bytes: from.get(..last + 2 + localpart.len())? })
}
