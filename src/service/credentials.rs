//! Whether a password is right, by the organisation's directories.

mod lockout;

use secrecy::SecretString;

pub use self::lockout::forget_old;
use crate::{
    app::App,
    directory::{Checked, Person},
    matrix::id::UserId,
    store::StoreError,
};

/// Who `user` is, if a directory takes the password. Whoever has tried too many wrong ones isn't
/// listened to for a while.
///
/// # Errors
/// When the database fails, which remembers them.
pub async fn check(
    app: &App,
    user: &UserId,
    password: &SecretString,
) -> Result<Option<Person>, StoreError> {
    if !app.directories.knows_users_like(user) {
        return Ok(None);
    }
    let Some(trial) = lockout::admit(app, user).await? else {
        tracing::debug!(%user, "not listened to: too many wrong passwords");
        return Ok(None);
    };
    match app.directories.check_password(user, password).await {
        Checked::Right(person) => {
            trial.was_right().await?;
            Ok(Some(*person))
        }
        Checked::Wrong => {
            if trial.was_wrong() {
                tracing::info!(%user, "too many wrong passwords: locked out for a while");
            }
            Ok(None)
        }
        Checked::Unanswered => {
            trial.was_unanswered().await?;
            Ok(None)
        }
    }
}
