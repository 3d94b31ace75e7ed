//! User ids by the hashes of 3PIDs, in as little memory as that takes: what answers lookups without
//! asking the database.
//!
//! The hashes are uniformly random already, so parts of them serve as they are: a byte chooses the
//! shard, eight, the tag, choose the bucket and are compared, and one more is compared beside them.
//! So a hash that was never stored is taken for one of ten million with a chance of 10⁻¹⁷ (10⁷ of
//! 2⁸⁰). Two *stored* hashes that agree in all ten bytes are for the database to tell apart
//! ([`Entry::Ask`]); whoever keeps the table has to find that out ([`tag_range`]).

mod names;
mod shard;

use self::{names::Servers, shard::Shard};

/// The hash of a 3PID.
pub type Hash = [u8; 32];

/// As much of a hash as is looked at: its beginning.
pub type Key = [u8; 10];

/// The beginning of a hash.
#[must_use]
pub fn key(hash: &Hash) -> Key {
    let [k0, k1, k2, k3, k4, k5, k6, k7, k8, k9, ..] = *hash;
    [k0, k1, k2, k3, k4, k5, k6, k7, k8, k9]
}

/// How many shards there are: one for each value of a byte. A shard grows by itself, so that never
/// more than its share is in memory twice, and no reader waits for more than that.
const SHARDS: u32 = 256;

/// What stands behind a hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entry<'a> {
    /// This user, for certain.
    User(&'a str),
    /// Somebody, perhaps: the database has to be asked.
    Ask,
}

/// What was found behind a hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// A user, whose id [`Table::write_user`] tells.
    User(Place),
    /// Somebody, perhaps: the database has to be asked.
    Ask,
}

/// Where a user id lies in a table. Changing the table makes it meaningless.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    shard: u8,
    offset: u32,
}

/// The table.
#[derive(Debug)]
pub struct Table {
    shards: Vec<Shard>,
    servers: Servers,
}

/// The parts of a hash that are used.
#[derive(Debug, Clone, Copy)]
struct Parts {
    /// Chooses the bucket, and is compared.
    tag: u64,
    /// Is compared as well.
    extra: u8,
    shard: u8,
}

impl Parts {
    fn of(key: Key) -> Self {
        let [t0, t1, t2, t3, t4, t5, t6, t7, extra, shard] = key;
        Self { tag: u64::from_be_bytes([t0, t1, t2, t3, t4, t5, t6, t7]), extra, shard }
    }
}

/// The first and the last hash with the same tag as `hash`: a range in which all stand that the
/// table could take for it.
#[must_use]
pub fn tag_range(hash: &Hash) -> (Hash, Hash) {
    let (mut first, mut last) = (*hash, *hash);
    first.iter_mut().skip(size_of::<u64>()).for_each(|byte| *byte = 0);
    last.iter_mut().skip(size_of::<u64>()).for_each(|byte| *byte = 0xff);
    (first, last)
}

/// How many hashes are looked up side by side, so that the processor waits for the memory of all of
/// them at once.
const ABREAST: usize = 32;

impl Table {
    /// An empty table that has room for `expected` entries.
    #[must_use]
    pub fn with_room_for(expected: usize) -> Self {
        let each = expected / SHARDS as usize;
        let shards = (0..SHARDS).map(|number| Shard::new(number, each)).collect();
        Self { shards, servers: Servers::default() }
    }

    /// How many hashes stand for somebody.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shards.iter().map(Shard::len).sum()
    }

    /// Whether no hash stands for anybody.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How much memory it takes, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.shards.iter().map(Shard::bytes).sum::<usize>() + self.servers.bytes()
    }

    /// What stands behind the hash that begins with `key`; `None`: nobody.
    #[must_use]
    pub fn find(&self, key: Key) -> Option<Found> {
        let parts = Parts::of(key);
        let value = self.shards.get(usize::from(parts.shard))?.find(parts)?;
        Some(found(parts.shard, value))
    }

    /// Tells `tell` of each of `keys` behind which somebody stands, with what came with it.
    pub fn find_all<T: Copy>(&self, keys: &[(T, Key)], mut tell: impl FnMut(T, Found)) {
        for group in keys.chunks(ABREAST) {
            self.fetch(group.iter().map(|(_, key)| *key));
            for (with, key) in group {
                if let Some(found) = self.find(*key) {
                    tell(*with, found);
                }
            }
        }
    }

    /// Fetches the memory where `keys` are looked for: nothing here waits for the one before it, so
    /// that it comes at once for all of them.
    fn fetch(&self, keys: impl Iterator<Item = Key>) {
        std::hint::black_box(keys.fold(0, |sum, key| sum ^ self.touch(Parts::of(key))));
    }

    fn touch(&self, parts: Parts) -> u64 {
        self.shards.get(usize::from(parts.shard)).map_or(0, |shard| shard.touch(parts))
    }

    /// Appends the user id that lies at `place` to `text`.
    pub fn write_user(&self, place: Place, text: &mut String) {
        let record =
            self.shards.get(usize::from(place.shard)).map(|shard| shard.user(place.offset));
        if let Some((server, localpart)) = record {
            text.push('@');
            text.push_str(&String::from_utf8_lossy(localpart));
            text.push(':');
            text.push_str(self.servers.name(server));
        }
    }

    /// Sets what stands behind `hash`, in place of what stood there; `None`: nobody.
    pub fn set(&mut self, hash: &Hash, entry: Option<Entry<'_>>) {
        let parts = Parts::of(key(hash));
        let user = match entry {
            Some(Entry::User(mxid)) => self.split(mxid),
            Some(Entry::Ask) | None => None,
        };
        let Some(shard) = self.shards.get_mut(usize::from(parts.shard)) else { return };
        match (entry, user) {
            (None, _) => shard.remove(parts),
            (Some(_), Some((server, localpart))) => shard.set_user(parts, server, localpart),
            (Some(_), None) => shard.set_ask(parts),
        }
    }

    /// As [`Self::set`] for each, of whose 3PIDs nothing was said before: where something stands
    /// already, two hashes can't be told apart, and the database has to be asked.
    pub fn add_all(&mut self, entries: &[(Hash, Entry<'_>)]) {
        for group in entries.chunks(ABREAST) {
            self.fetch(group.iter().map(|(hash, _)| key(hash)));
            for (hash, entry) in group {
                self.add(hash, *entry);
            }
        }
    }

    fn add(&mut self, hash: &Hash, entry: Entry<'_>) {
        let is_taken = self.find(key(hash)).is_some();
        self.set(hash, Some(if is_taken { Entry::Ask } else { entry }));
    }

    /// The number of the server and the localpart; `None` for what is no user id.
    fn split<'a>(&mut self, mxid: &'a str) -> Option<(u32, &'a [u8])> {
        let (localpart, server) = mxid.strip_prefix('@')?.split_once(':')?;
        Some((self.servers.number(server)?, localpart.as_bytes()))
    }
}

fn found(shard: u8, value: shard::Value) -> Found {
    match value {
        shard::Value::Ask => Found::Ask,
        shard::Value::User(offset) => Found::User(Place { shard, offset }),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;
    use sha2::{Digest, Sha256};

    use super::*;

    fn hash(number: u32) -> Hash {
        Sha256::digest(number.to_be_bytes()).into()
    }

    fn told(table: &Table, found: Found) -> Option<String> {
        match found {
            Found::Ask => None,
            Found::User(place) => {
                let mut text = String::new();
                table.write_user(place, &mut text);
                Some(text)
            }
        }
    }

    /// What the table says of `0..count`, each by itself and all at once.
    fn contents(table: &Table, count: u32) -> HashMap<u32, Option<String>> {
        let single = |number| Some((number, told(table, table.find(key(&hash(number)))?)));
        let each: HashMap<_, _> = (0..count).filter_map(single).collect();
        let mut together = HashMap::new();
        let keys: Vec<_> = (0..count).map(|number| (number, key(&hash(number)))).collect();
        table.find_all(&keys, |number, found| {
            together.insert(number, told(table, found));
        });
        assert_eq!(each, together);
        each
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn it_holds_what_was_said_last(
            steps in prop::collection::vec((0_u32..3000, 0_u8..5, "[a-z0-9._=/-]{0,12}", 0_u32..300), 0..6000)
        ) {
            let (mut table, mut model) = (Table::with_room_for(0), HashMap::new());
            for (number, kind, localpart, server) in steps {
                let mxid = format!("@{localpart}:server{server}.example");
                match kind {
                    0 => {
                        table.set(&hash(number), None);
                        model.remove(&number);
                    }
                    1 => {
                        table.set(&hash(number), Some(Entry::Ask));
                        model.insert(number, None);
                    }
                    _ => {
                        table.set(&hash(number), Some(Entry::User(&mxid)));
                        model.insert(number, Some(mxid));
                    }
                }
            }
            prop_assert_eq!(table.len(), model.len());
            prop_assert_eq!(contents(&table, 3000), model);
        }
    }

    #[test]
    fn hashes_that_it_cannot_tell_apart_have_to_be_asked_for() {
        let mut table = Table::with_room_for(0);
        let (one, mut other) = (hash(1), hash(1));
        other[31] ^= 1;
        let entries = [(one, "@alice:hs.example"), (other, "@mallory:hs.example")];
        table.add_all(&entries.map(|(hash, mxid)| (hash, Entry::User(mxid))));
        assert_eq!(table.find(key(&one)), Some(Found::Ask));
        let (first, last) = tag_range(&one);
        assert!(first <= one && one <= last && first <= other && other <= last);
    }

    #[test]
    fn what_is_no_user_id_has_to_be_asked_for() {
        let mut table = Table::with_room_for(0);
        table.set(&hash(1), Some(Entry::User("nonsense")));
        assert_eq!(table.find(key(&hash(1))), Some(Found::Ask));
    }

    #[test]
    fn it_takes_little_memory_and_gives_it_back() {
        let mut table = Table::with_room_for(0);
        let mxid = |number: u32, round: u32| format!("@user{number:07}-{round}:hs.example");
        let count = 200_000;
        for round in 0..4 {
            for number in 0..count {
                table.set(&hash(number), Some(Entry::User(&mxid(number, round))));
            }
            // A byte for the server, one for the length, 13 for the localpart, and 12 for each of
            // the slots, most of which are in use; of what was there before a part may be left.
            let each = table.bytes() / count as usize;
            assert!(each < if round == 0 { 35 } else { 42 }, "{round}: {each}");
        }
        assert_eq!(contents(&table, 10), (0..10).map(|n| (n, Some(mxid(n, 3)))).collect());
        (0..count).for_each(|number| table.set(&hash(number), None));
        assert!(table.is_empty());
    }
}
