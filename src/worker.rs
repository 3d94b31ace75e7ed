//! The work that goes on in the background.

use std::{sync::Arc, time::Duration};

use tokio::sync::watch;

use crate::{app::App, service};

/// How often there is something to do.
const ROUND: Duration = Duration::from_secs(30);

/// Works until `stop` says `true`: replaces an old pepper, forgets expired sessions and idle
/// limits.
pub async fn run(app: Arc<App>, mut stop: watch::Receiver<bool>) {
    loop {
        round(&app).await;
        tokio::select! {
            () = tokio::time::sleep(ROUND) => {}
            _ = stop.wait_for(|stopped| *stopped) => return,
        }
    }
}

/// Does once what is due now.
pub async fn round(app: &App) {
    match service::lookup::rotate_pepper(app).await {
        Ok(true) => tracing::info!("the pepper was replaced"),
        Ok(false) => {}
        Err(error) => tracing::error!(%error, "the pepper could not be replaced"),
    }
    match service::session::forget_expired(app).await {
        Ok(0) => {}
        Ok(count) => tracing::debug!(count, "forgot expired sessions"),
        Err(error) => tracing::error!(%error, "expired sessions could not be removed"),
    }
    app.limits.forget_idle();
}
