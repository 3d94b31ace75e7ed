//! Looking up hashes in memory.

use std::ops::Range;

use super::{Asked, Mappings, Query, slices};
use crate::{
    app::{
        App,
        index::{Generation, Hit},
    },
    index::Key,
    matrix::threepid::decode_beginning,
};

/// A lookup in memory.
pub(super) struct Kept<'a> {
    /// What is in memory.
    pub(super) generation: &'a Generation,
    /// Whether it matters what is unknown.
    pub(super) asks_peers: bool,
}

impl Kept<'_> {
    /// Adds who is found to `mappings`, and who isn't to `unknown`; answers for what the database
    /// has to be asked, if anything.
    pub(super) async fn lookup<T: AsRef<str>>(
        &self,
        app: &App,
        query: &Query<'_, T>,
        mappings: &mut Mappings,
        unknown: &mut Vec<Asked>,
    ) -> Option<Vec<Asked>> {
        let mut asked = Vec::new();
        for slice in slices(query.addresses.len()) {
            if slice.start > 0 {
                tokio::task::yield_now().await;
            }
            let keys = query.keys(slice.clone());
            let hits = self.generation.find_all(&keys, &mut mappings.mxids);
            if self.asks_peers {
                let is_hit = |position| hits.binary_search_by_key(&position, |hit| hit.0).is_ok();
                let missed = slice.filter(|position| !is_hit(*position));
                unknown.extend(missed.filter_map(|position| query.asked(&app.mediums, position)));
            }
            for (position, hit) in hits {
                // Only its beginning was looked at.
                let Some(hash) = query.asked(&app.mediums, position) else { continue };
                match hit {
                    Hit::User(range) => mappings.found.push((position, range)),
                    Hit::Ask => asked.push(hash),
                }
            }
        }
        (!asked.is_empty()).then_some(asked)
    }
}

impl<T: AsRef<str>> Query<'_, T> {
    /// The beginnings of the hashes that stand at `positions`.
    fn keys(&self, positions: Range<usize>) -> Vec<(usize, Key)> {
        let key = |position| Some((position, decode_beginning(self.text(position))?));
        positions.filter_map(key).collect()
    }
}
