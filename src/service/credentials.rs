//! Whether a password is right, by the organisation's directories.

use secrecy::SecretString;

use crate::{
    app::App,
    directory::{Checked, Person},
    matrix::id::UserId,
};

/// Who `user` is, if a directory takes the password. Whoever has tried too many wrong ones isn't
/// listened to for a while.
pub async fn check(app: &App, user: &UserId, password: &SecretString) -> Option<Person> {
    if !app.directories.knows_users_like(user) {
        return None;
    }
    let Some(trial) = app.lockouts.admits(user) else {
        tracing::debug!(%user, "not listened to: too many wrong passwords");
        return None;
    };
    match app.directories.check_password(user, password).await {
        Checked::Right(person) => {
            trial.was_right();
            Some(*person)
        }
        Checked::Wrong => {
            if trial.was_wrong() {
                tracing::info!(%user, "too many wrong passwords: locked out for a while");
            }
            None
        }
        Checked::Unanswered => {
            trial.was_unanswered();
            None
        }
    }
}
