//! Searches for people at the homeserver that stands behind this server.

use actix_web::{HttpRequest, HttpResponse, guard::GuardContext, web::Data};

use super::{
    error::ApiError,
    extract::{Body, ClientAddress},
    through::{call, given, given_whole, send},
};
use crate::{
    app::App,
    homeserver::{self, HomeserverError},
    matrix::json::Object,
    service::user_directory::{self, Search},
};

/// The longest answer of the homeserver that is merged with others, in bytes.
const ANSWER_LIMIT: usize = 4 * 1024 * 1024;

/// Whether searches are switched on.
pub(super) fn is_on(context: &GuardContext<'_>) -> bool {
    context.app_data::<Data<App>>().is_some_and(|app| app.config.user_directory)
}

/// `POST /_matrix/client/v3/user_directory/search` — [spec](https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3user_directorysearch)
///
/// The homeserver is asked first: it knows whose the access token is. What it refuses is refused.
pub(super) async fn search(
    app: Data<App>,
    client: ClientAddress,
    request: HttpRequest,
    body: Body,
) -> Result<HttpResponse, ApiError> {
    let body = body.bytes()?;
    let search = Search::of(&body);
    let mut call = call(&app, client, &request, homeserver::Body::Whole(body))?;
    // An answer that is compressed could not be added to.
    call.headers.retain(|(name, _)| name != "accept-encoding");
    let mut answer = send(&app, call).await?;
    let Some(search) = search.filter(|_| answer.status == 200) else {
        return Ok(given(answer, request.method()));
    };
    let whole = answer.whole(ANSWER_LIMIT).await.map_err(ApiError::Homeserver)?;
    let whole = whole.ok_or(ApiError::Homeserver(HomeserverError::TooLarge))?;
    let Ok(mut found) = serde_json::from_slice::<Object>(&whole) else {
        return Ok(given_whole(&answer, whole));
    };
    user_directory::complete(&app, &search, &mut found).await;
    Ok(given_whole(&answer, serde_json::Value::Object(found).to_string().into_bytes()))
}
