//! Lookups by API v1, for neighbours that know no v2: without accounts, in plain, where they are
//! switched on. They are answered from what is known here and from what peers said a while ago; peers
//! are never asked for them.

use actix_web::{
    guard::GuardContext,
    web::{Data, Json},
};
use serde_json::{Value, json};

use super::{
    error::ApiError,
    extract::{Body, ClientAddress, LOOKUP_BODY_LIMIT, Query, limit_client},
    fields::Fields,
};
use crate::{
    app::App,
    matrix::{json::Object, threepid::ThreePid},
    service,
};

/// Whether lookups by API v1 are switched on.
pub(super) fn is_lookup_on(context: &GuardContext<'_>) -> bool {
    context.app_data::<Data<App>>().is_some_and(|app| app.config.api.v1_lookup)
}

/// Whether anything of API v1 is switched on.
pub(super) fn is_on(context: &GuardContext<'_>) -> bool {
    let api = context.app_data::<Data<App>>().map(|app| app.config.api);
    api.is_some_and(|api| api.v1_lookup || api.v1_validate)
}

/// `GET /_matrix/identity/api/v1/lookup`: the signed association of an address, or `{}`.
pub(super) async fn lookup(
    app: Data<App>,
    client: ClientAddress,
    query: Query,
) -> Result<Json<Object>, ApiError> {
    let (medium, address) = (query.0.text("medium")?, query.0.text("address")?);
    limit_client(&app, app.limits.lookup_addresses_per_client.as_ref(), client, 1)?;
    // What is no address is nobody's.
    let Ok(threepid) = app.mediums.threepid_anywhere(medium, address) else {
        return Ok(Json(Object::new()));
    };
    Ok(Json(service::lookup::signed(&app, threepid).await?.unwrap_or_default()))
}

/// `POST /_matrix/identity/api/v1/bulk_lookup`: medium, address and user id of those addresses that
/// are known, as they were asked for.
pub(super) async fn bulk_lookup(
    app: Data<App>,
    client: ClientAddress,
    body: Body<LOOKUP_BODY_LIMIT>,
) -> Result<Json<Value>, ApiError> {
    let asked = pairs(&body.fields()?)?;
    let max = app.config.lookup.max_addresses;
    if asked.len() > max {
        return Err(ApiError::TooManyAddresses(max));
    }
    let count = u32::try_from(asked.len()).unwrap_or(u32::MAX);
    limit_client(&app, app.limits.lookup_addresses_per_client.as_ref(), client, count)?;
    let read = |(medium, address): (String, String)| {
        let threepid = app.mediums.threepid_anywhere(&medium, &address).ok()?;
        Some((medium, address, threepid))
    };
    let asked: Vec<(String, String, ThreePid)> = asked.into_iter().filter_map(read).collect();
    let threepids = asked.iter().map(|(.., threepid)| threepid.clone()).collect();
    let known = service::lookup::mxids(&app, threepids).await?;
    let found: Vec<Value> = asked
        .into_iter()
        .filter_map(|(medium, address, threepid)| {
            Some(json!([medium, address, known.get(&threepid)?]))
        })
        .collect();
    Ok(Json(json!({ "threepids": found })))
}

/// The `threepids`: a list of lists of medium and address.
fn pairs(fields: &Fields) -> Result<Vec<(String, String)>, ApiError> {
    serde_json::from_value(fields.value("threepids")?.clone()).map_err(|_| {
        ApiError::InvalidParam("threepids must be a list of [medium, address]".to_owned())
    })
}
