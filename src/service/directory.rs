//! What the organisation's directories say of addresses, asked directly or kept in a copy.

pub mod copy;

use std::collections::HashMap;

use crate::{
    app::App,
    directory::Purpose,
    matrix::{id::UserId, threepid::ThreePid},
    store::{StoreError, Tx, invites},
};

/// Whose the addresses are, asked of the directories themselves. One that fails is an answer less.
pub async fn find(app: &App, threepids: &[ThreePid]) -> HashMap<ThreePid, UserId> {
    app.directories.find(threepids, Purpose::Identity).await
}

/// Owes the invitations that wait for addresses to the homeservers of those who were found to have
/// them; answers how many.
///
/// # Errors
/// When the database fails.
pub async fn owe(
    app: &App,
    found: impl IntoIterator<Item = (ThreePid, UserId)>,
) -> Result<usize, StoreError> {
    let found: Vec<(ThreePid, UserId)> = found.into_iter().collect();
    if found.is_empty() {
        return Ok(0);
    }
    let now_ms = app.clock.now_ms();
    let owe = move |tx: &mut Tx<'_>| {
        let mut owed = 0;
        for (threepid, mxid) in &found {
            owed += invites::owe(tx, threepid, mxid, now_ms)?;
        }
        Ok::<_, StoreError>(owed)
    };
    let owed = app.store.write(owe).await?;
    if owed > 0 {
        app.onbind_is_due.notify_one();
    }
    Ok(owed)
}
