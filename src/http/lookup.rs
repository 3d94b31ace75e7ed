//! `/hash_details` and `/lookup`.

use std::{borrow::Cow, collections::HashSet};

use actix_web::{
    HttpResponse,
    web::{Data, Json},
};
use serde::{Deserialize, Serialize};

use super::{
    error::ApiError,
    extract::{Body, Caller, ClientAddress, LOOKUP_BODY_LIMIT, limit_by, limit_client},
};
use crate::{
    app::App,
    config::Algorithm,
    matrix::id::UserId,
    service::{
        self,
        lookup::{Mappings, Query},
    },
};

/// Where lookups are asked for.
pub(super) const LOOKUP: &str = "/_matrix/identity/v2/lookup";

/// Where it is asked what to hash with.
pub(super) const HASH_DETAILS: &str = "/_matrix/identity/v2/hash_details";

/// What to hash with.
#[derive(Serialize)]
pub(super) struct HashDetails {
    lookup_pepper: String,
    algorithms: Vec<&'static str>,
}

/// `GET /_matrix/identity/v2/hash_details` — [spec](https://spec.matrix.org/v1.19/identity-service-api/#get_matrixidentityv2hash_details)
pub(super) async fn hash_details(
    app: Data<App>,
    _caller: Caller,
) -> Result<Json<HashDetails>, ApiError> {
    let algorithms = app.config.lookup.algorithms.iter().map(|a| a.as_str()).collect();
    Ok(Json(HashDetails {
        lookup_pepper: service::lookup::current_pepper(&app).await?,
        algorithms,
    }))
}

/// Borrowed where it can be: a lookup may hold thousands of hashes.
#[derive(Deserialize)]
struct LookupRequest<'a> {
    #[serde(borrow)]
    algorithm: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pepper: Option<Cow<'a, str>>,
    #[serde(borrow)]
    addresses: Option<Vec<Text<'a>>>,
}

/// A text that is borrowed where it can be, also in a list.
#[derive(Deserialize)]
#[serde(transparent)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

impl AsRef<str> for Text<'_> {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

/// `POST /_matrix/identity/v2/lookup` — [spec](https://spec.matrix.org/v1.19/identity-service-api/#post_matrixidentityv2lookup)
pub(super) async fn lookup(
    app: Data<App>,
    caller: Caller,
    client: ClientAddress,
    body: Body<LOOKUP_BODY_LIMIT>,
) -> Result<HttpResponse, ApiError> {
    let bytes = body.bytes()?;
    let request = parse(&bytes)?;
    let algorithm = request.algorithm.ok_or(ApiError::MissingParams("algorithm"))?;
    let pepper = request.pepper.ok_or(ApiError::MissingParams("pepper"))?;
    let addresses = request.addresses.ok_or(ApiError::MissingParams("addresses"))?;
    let algorithm = offered(&app, &algorithm)?;
    let max = app.config.lookup.max_addresses;
    if addresses.len() > max {
        return Err(ApiError::TooManyAddresses(max));
    }
    limit_addresses(&app, &caller.mxid, client, addresses.len())?;
    let query = Query { algorithm, pepper: &pepper, addresses: &addresses };
    let mappings = service::lookup::lookup(&app, &caller.mxid, query).await?;
    Ok(HttpResponse::Ok().content_type("application/json").body(answer(&addresses, &mappings)?))
}

/// `{"mappings": {…}}`, whose keys are the texts as they were sent, each once.
fn answer(addresses: &[Text<'_>], mappings: &Mappings) -> Result<Vec<u8>, ApiError> {
    let internal = |error: serde_json::Error| ApiError::Internal(error.into());
    let mut json = br#"{"mappings":{"#.to_vec();
    let mut told = HashSet::new();
    for (position, mxid) in mappings.iter() {
        let Some(Text(text)) = addresses.get(position) else { continue };
        if !told.insert(text) {
            continue;
        }
        if told.len() > 1 {
            json.push(b',');
        }
        serde_json::to_writer(&mut json, text).map_err(internal)?;
        json.push(b':');
        serde_json::to_writer(&mut json, mxid).map_err(internal)?;
    }
    json.extend_from_slice(b"}}");
    Ok(json)
}

/// An account that is over its own limit takes nothing from others behind the same address.
fn limit_addresses(
    app: &App,
    mxid: &UserId,
    client: ClientAddress,
    count: usize,
) -> Result<(), ApiError> {
    let count = u32::try_from(count).unwrap_or(u32::MAX);
    limit_by(app.limits.lookup_addresses_per_account.as_ref(), mxid, count)?;
    limit_client(app, app.limits.lookup_addresses_per_client.as_ref(), client, count)
}

fn parse(bytes: &[u8]) -> Result<LookupRequest<'_>, ApiError> {
    if !bytes.trim_ascii_start().starts_with(b"{") {
        // serde would read a list as the fields in order.
        return Err(match serde_json::from_slice::<serde::de::IgnoredAny>(bytes) {
            Ok(_) => ApiError::BadJson("The body must be a JSON object".to_owned()),
            Err(_) => ApiError::NotJson,
        });
    }
    // Checked all at once, not text by text.
    let text = std::str::from_utf8(bytes).map_err(|_| ApiError::NotJson)?;
    serde_json::from_str(text).map_err(|error| {
        if error.is_data() {
            ApiError::InvalidParam(
                "algorithm and pepper must be strings, addresses a list of strings".to_owned(),
            )
        } else {
            ApiError::NotJson
        }
    })
}

/// The algorithm of that name, if it is on offer.
fn offered(app: &App, name: &str) -> Result<Algorithm, ApiError> {
    let mut offered = app.config.lookup.algorithms.iter().copied();
    offered.find(|algorithm| algorithm.as_str() == name).ok_or_else(|| {
        ApiError::InvalidParam("This server doesn't offer that algorithm".to_owned())
    })
}
