//! As whom somebody logs in who names a 3PID.

use sha2::{Digest, Sha256};

use crate::{
    app::App,
    config::Gateway,
    directory::Purpose,
    matrix::{id::UserId, login::Named, phone::Phone, threepid::ThreePid},
    store::{StoreError, associations},
};

/// The 3PID that a login names; `None` where nobody can have such a one.
#[must_use]
pub fn threepid(app: &App, named: &Named) -> Option<ThreePid> {
    match named {
        Named::ThreePid { medium, address } => app.mediums.threepid(medium, address).ok(),
        Named::Phone { country, number } => {
            let phone = Phone::parse(country, number).ok()?;
            ThreePid::msisdn(phone.msisdn()).ok()
        }
        Named::Address(address) => ThreePid::email(address).ok(),
    }
}

/// The user as whom who names `named`, which is `threepid`, logs in at the homeserver. A 3PID that
/// is nobody's there gets a user that doesn't exist, so that the homeserver has the last word on
/// it as well.
///
/// # Errors
/// When the database fails.
pub async fn user(
    app: &App,
    gateway: &Gateway,
    named: &Named,
    threepid: Option<ThreePid>,
) -> Result<String, StoreError> {
    // Made in any case: the same work is done for whomever.
    let nobody = nobody(app, gateway, named, threepid.as_ref());
    let Some(threepid) = threepid else { return Ok(nobody) };
    // Both, even if the first one knows: how long it takes is to say nothing.
    let (bound, listed) = tokio::join!(bound(app, threepid.clone()), in_directories(app, threepid));
    let known = bound?.or(listed);
    let known = known.filter(|user| *user.server_name() == gateway.server_name);
    Ok(known.map_or(nobody, String::from))
}

/// Whose `threepid` is, by what was validated and bound here. What other servers say never logs
/// anybody in.
async fn bound(app: &App, threepid: ThreePid) -> Result<Option<UserId>, StoreError> {
    let now_ms = app.clock.now_ms();
    let bound = app.store.read(move |tx| associations::find(tx, &threepid, now_ms)).await?;
    Ok(bound.map(|association| association.mxid))
}

/// Whose `threepid` is by the directories.
async fn in_directories(app: &App, threepid: ThreePid) -> Option<UserId> {
    let found = app.directories.find(std::slice::from_ref(&threepid), Purpose::Login).await;
    found.into_values().next()
}

/// A user id that no homeserver gives out, since it begins with an underscore, and that nobody can
/// guess. It is always the same for one 3PID: homeservers count failed logins by user.
fn nobody(app: &App, gateway: &Gateway, named: &Named, threepid: Option<&ThreePid>) -> String {
    let key = app.keys.signing().seed();
    let (medium, address) = match (threepid, named) {
        (Some(threepid), _) => (threepid.medium().as_str(), threepid.address()),
        (None, Named::ThreePid { medium, address }) => (medium.as_str(), address.as_str()),
        (None, Named::Phone { country, number }) => (country.as_str(), number.as_str()),
        (None, Named::Address(address)) => ("", address.as_str()),
    };
    // Twice, so that a digest can't be continued without the key.
    let mut inner = Sha256::new_with_prefix(key);
    for part in ["login as nobody", "\0", medium, "\0", address] {
        inner.update(part);
    }
    let outer = Sha256::new_with_prefix(key).chain_update(inner.finalize()).finalize();
    let digits = outer.iter().take(16).fold(String::new(), |mut digits, byte| {
        let digit = |half: u8| char::from_digit(u32::from(half), 16).unwrap_or_default();
        digits.extend([digit(byte >> 4), digit(byte & 15)]);
        digits
    });
    format!("@_{digits}:{}", gateway.server_name)
}
