//! Copies of all people, page by page.
//!
//! A server knows where a page ends only on the connection over which it came. So the connection of
//! a copy waits here until the next page is asked for.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use super::{Connection, Cursor, DirectoryError, Entry, Query, Servers};
use crate::secret;

/// How long a page may take; nobody waits for it.
const PATIENCE: Duration = Duration::from_secs(30);

/// After how long a copy is taken for given up.
const GIVEN_UP: Duration = Duration::from_mins(5);

/// The copies that are under way.
pub(super) struct Copies {
    page_size: i32,
    under_way: Mutex<Vec<Copy>>,
}

struct Copy {
    cursor: Cursor,
    connection: Connection,
    /// Where its next page begins, in words of the server's own.
    cookie: Vec<u8>,
    since: Instant,
}

impl Copies {
    pub(super) fn new(page_size: i32) -> Self {
        Self { page_size, under_way: Mutex::default() }
    }

    /// The page after the cursor, and the cursor of the next one. The query has to be the same for
    /// all pages.
    pub(super) async fn turn(
        &self,
        servers: &Servers,
        query: &Query<'_>,
        after: Option<&Cursor>,
    ) -> Result<(Vec<Entry>, Option<Cursor>), DirectoryError> {
        let (mut connection, cookie) = match after {
            None => (servers.log_in().await?.with_patience(PATIENCE), Vec::new()),
            Some(cursor) => {
                let copy = self.take(cursor).ok_or(DirectoryError::Forgotten)?;
                (copy.connection, copy.cookie)
            }
        };
        let found = connection.page(query, self.page_size, cookie).await?;
        if found.is_limited {
            // Half of the people are not all of them.
            return Err(DirectoryError::Refused(
                "the server's size limit ends the list of people too soon: raise it for bind_dn \
                 (OpenLDAP: limits dn.exact=\"…\" size.prtotal=unlimited)"
                    .to_owned(),
            ));
        }
        let Some(cookie) = found.cookie else {
            connection.close();
            return Ok((found.entries, None));
        };
        Ok((found.entries, Some(self.keep(connection, cookie))))
    }

    fn take(&self, cursor: &Cursor) -> Option<Copy> {
        let mut under_way = self.lock();
        let at = under_way.iter().position(|copy| copy.cursor == *cursor)?;
        Some(under_way.swap_remove(at))
    }

    fn keep(&self, connection: Connection, cookie: Vec<u8>) -> Cursor {
        // No cursor of another node, or of a time before the last start, must be taken for it.
        let cursor = Cursor(secret::random_token());
        let copy = Copy { cursor: cursor.clone(), connection, cookie, since: Instant::now() };
        let mut under_way = self.lock();
        under_way.retain(|copy| copy.since.elapsed() < GIVEN_UP);
        under_way.push(copy);
        cursor
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Copy>> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
