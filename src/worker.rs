//! The work that goes on in the background.

use std::{sync::Arc, time::Duration};

use futures_util::future::join_all;
use tokio::sync::watch;

use crate::{app::App, config::Neighbour, directory::Directory, service};

/// How often there is something to do, and how often owed invitations are looked for at least.
const ROUND: Duration = Duration::from_secs(30);

/// Works until `stop` says `true`.
pub async fn run(app: Arc<App>, stop: watch::Receiver<bool>) {
    let neighbours =
        join_all(app.told_neighbours().map(|one| tell_neighbour(&app, one, stop.clone())));
    let copied = app.directories.iter().filter(|directory| directory.settings().is_copied());
    let copying = join_all(copied.map(|one| copy_directory(&app, one, stop.clone())));
    let index = service::index::keep(&app, stop.clone());
    let peppers = replace_peppers(&app, stop.clone());
    tokio::join!(
        index,
        peppers,
        tidy_up(&app, stop.clone()),
        tell_homeservers(&app, stop.clone()),
        neighbours,
        copying
    );
}

async fn tidy_up(app: &App, mut stop: watch::Receiver<bool>) {
    loop {
        tidy(app).await;
        tokio::select! {
            () = tokio::time::sleep(ROUND) => {}
            _ = stop.wait_for(|stopped| *stopped) => return,
        }
    }
}

/// Replaces the pepper when it is old, which takes long where there are many associations.
async fn replace_peppers(app: &App, mut stop: watch::Receiver<bool>) {
    loop {
        rotate(app).await;
        tokio::select! {
            () = tokio::time::sleep(ROUND) => {}
            _ = stop.wait_for(|stopped| *stopped) => return,
        }
    }
}

async fn rotate(app: &App) {
    match service::pepper::rotate(app).await {
        Ok(true) => tracing::info!("the pepper was replaced"),
        Ok(false) => {}
        Err(error) => tracing::error!(%error, "the pepper could not be replaced"),
    }
}

/// Does once what is due now: replaces an old pepper and tidies up.
pub async fn round(app: &App) {
    rotate(app).await;
    tidy(app).await;
}

/// Forgets expired sessions and invitations, old counts, changes, allowances, wrong passwords
/// and idle limits, looks up who is invited.
async fn tidy(app: &App) {
    match service::session::forget_expired(app).await {
        Ok(count) => tracing::debug!(count, "forgot expired sessions"),
        Err(error) => tracing::error!(%error, "expired sessions could not be removed"),
    }
    match service::invite::forget_old(app).await {
        Ok(count) => tracing::debug!(count, "forgot old invitations"),
        Err(error) => tracing::error!(%error, "old invitations could not be removed"),
    }
    match service::sms::forget_old_days(app).await {
        Ok(count) => tracing::debug!(count, "forgot old counts of text messages"),
        Err(error) => tracing::error!(%error, "old counts of text messages could not be removed"),
    }
    match service::allowance::forget_full(app).await {
        Ok(count) => tracing::debug!(count, "forgot allowances that nothing is taken of"),
        Err(error) => tracing::error!(%error, "old allowances could not be removed"),
    }
    match service::credentials::forget_old(app).await {
        Ok(count) => tracing::debug!(count, "forgot who had tried wrong passwords"),
        Err(error) => tracing::error!(%error, "old wrong passwords could not be removed"),
    }
    match service::index::forget_old_changes(app).await {
        Ok(()) => tracing::debug!("forgot old changes"),
        Err(error) => tracing::error!(%error, "old changes could not be removed"),
    }
    match service::invite::look_up_waiting(app).await {
        Ok(count) => tracing::debug!(count, "looked up who is invited, at peers"),
        Err(error) => tracing::error!(%error, "who is invited could not be looked up at peers"),
    }
    if let Err(error) = service::directory::copy::forget_others(app).await {
        tracing::error!(%error, "copies of former directories could not be removed");
    }
    app.limits.forget_idle();
}

async fn tell_homeservers(app: &App, mut stop: watch::Receiver<bool>) {
    loop {
        let pause = deliver(app).await;
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = app.onbind_is_due.notified() => {}
            _ = stop.wait_for(|stopped| *stopped) => return,
        }
    }
}

/// Delivers once what is owed and due; answers how long to wait for more.
pub async fn deliver(app: &App) -> Duration {
    let delivered = async {
        service::onbind::deliver_due(app).await?;
        service::onbind::time_to_next(app).await
    };
    match delivered.await {
        // Other nodes may owe something meanwhile.
        Ok(next) => next.unwrap_or(ROUND).clamp(Duration::from_millis(50), ROUND),
        Err(error) => {
            tracing::error!(%error, "owed invitations could not be looked at");
            ROUND
        }
    }
}

/// Each neighbour has a loop of its own, so that none waits for another.
async fn tell_neighbour(app: &App, neighbour: &Neighbour, mut stop: watch::Receiver<bool>) {
    let mut due = app.push_is_due.subscribe();
    loop {
        let pause = push(app, neighbour).await;
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            _ = due.changed() => {}
            _ = stop.wait_for(|stopped| *stopped) => return,
        }
    }
}

/// Tells a neighbour once what is due; answers how long to wait for more.
pub async fn push(app: &App, neighbour: &Neighbour) -> Duration {
    let told = async {
        service::push::catch_up(app).await?;
        service::push::tell(app, neighbour).await?;
        service::push::time_to_next(app, neighbour).await
    };
    match told.await {
        // Other nodes may have something to tell meanwhile.
        Ok(next) => next.unwrap_or(ROUND).clamp(Duration::from_millis(50), ROUND),
        Err(error) => {
            tracing::error!(%error, "neighbours could not be told");
            ROUND
        }
    }
}

/// Each directory has a loop of its own, so that none waits for another.
async fn copy_directory(app: &App, directory: &Directory, mut stop: watch::Receiver<bool>) {
    let settings = directory.settings();
    let intervals = [settings.sync_interval, settings.sync_changes_interval].into_iter().flatten();
    let pause = intervals.min().unwrap_or(ROUND).clamp(Duration::from_secs(1), ROUND);
    loop {
        let copied = async {
            copy(app, directory).await;
            tokio::time::sleep(pause).await;
        };
        tokio::select! {
            () = copied => {}
            _ = stop.wait_for(|stopped| *stopped) => break,
        }
    }
    // Another node may go on at once, or this one after its start.
    if let Err(error) = service::directory::copy::release(app, directory).await {
        tracing::debug!(%error, "another node goes on with a copy only after a while");
    }
}

/// Copies a directory once if that is due.
pub async fn copy(app: &App, directory: &Directory) {
    if let Err(error) = service::directory::copy::copy_if_due(app, directory).await {
        let directory = directory.settings().name.as_str();
        tracing::error!(%error, directory, "the copy of a directory could not be stored");
    }
}
