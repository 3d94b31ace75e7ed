//! `/store-invite`, `/sign-ed25519` and the keys of invitations.

use actix_web::{
    FromRequest, HttpRequest,
    dev::Payload,
    web::{Data, Json},
};
use serde::Serialize;
use serde_json::{Value, json};

use super::{
    error::ApiError,
    extract::{Body, Caller, ClientAddress, Query, Wishes, limit, limit_client},
    fields::Fields,
};
use crate::{
    app::App,
    matrix::{
        id::UserId,
        json::Object,
        signing::{SigningKey, encode_base64},
    },
    messages::Wish,
    service::{self, allowance, invite::InviteRequest},
};

/// What the homeserver puts into the room.
#[derive(Serialize)]
pub(super) struct StoredInvite {
    token: String,
    public_keys: [PublicKey; 2],
    /// The first of `public_keys` again, where older homeservers look for it.
    public_key: String,
    display_name: String,
}

#[derive(Serialize)]
struct PublicKey {
    public_key: String,
    key_validity_url: String,
}

/// `POST /_matrix/identity/v2/store-invite` — [spec](https://spec.matrix.org/v1.19/identity-service-api/#post_matrixidentityv2store-invite)
pub(super) async fn store_invite(
    app: Data<App>,
    caller: Caller,
    client: ClientAddress,
    wishes: Wishes,
    body: Body,
) -> Result<Json<StoredInvite>, ApiError> {
    let fields = body.fields()?;
    let threepid = fields.threepid_anywhere(&app.mediums)?;
    let sender: UserId = fields.parsed("sender")?;
    let room_id = room_id(&fields)?;
    caller.must_be(&sender)?;
    limit(app.limits.invite_per_account.as_ref(), &caller.mxid)?;
    limit_client(&app, app.limits.invite_per_client.as_ref(), client, 1)?;
    let limit_of_address = app.limits.invite_per_address.as_ref();
    allowance::take_of_address(&app, limit_of_address, &threepid).await?;
    let style = app.messages.style(&Wish {
        brand: fields.brand().or(wishes.brand.as_deref()),
        homeserver: Some(sender.server_name()),
        // What the homeserver accepts is no language of the person who is invited.
        locale: fields.locale(),
        accept_language: None,
    });
    let all = fields.into_object();
    let request = InviteRequest { threepid, room_id, sender, style, all };
    let stored = service::invite::store(&app, request).await?;
    Ok(Json(answer(&app, stored)))
}

fn answer(app: &App, stored: service::invite::Stored) -> StoredInvite {
    let base_url = &app.config.server.base_url;
    let public_key = |key: &[u8; 32], path: &str| PublicKey {
        public_key: encode_base64(key),
        key_validity_url: format!("{base_url}/_matrix/identity/v2/pubkey/{path}"),
    };
    let long_term = app.keys.signing().public();
    StoredInvite {
        token: stored.token,
        // Long-term first: homeservers take the first where they want only one.
        public_keys: [
            public_key(&long_term, "isvalid"),
            public_key(&stored.ephemeral_key, "ephemeral/isvalid"),
        ],
        public_key: encode_base64(&long_term),
        display_name: stored.display_name,
    }
}

/// The `room_id`; its form changes with room versions, so that only what can't be one is refused.
fn room_id(fields: &Fields) -> Result<String, ApiError> {
    let room_id = fields.text("room_id")?;
    if room_id.is_empty() || room_id.len() > 255 || room_id.contains(char::is_control) {
        return Err(ApiError::InvalidParam("room_id must be the id of a room".to_owned()));
    }
    Ok(room_id.to_owned())
}

/// `POST /_matrix/identity/v2/sign-ed25519` — [spec](https://spec.matrix.org/v1.19/identity-service-api/#post_matrixidentityv2sign-ed25519)
///
/// Clients follow the mailed URL: they add `mxid` to its query and send neither a body nor an
/// access token. With a body the specification's rules hold.
pub(super) async fn sign(
    app: Data<App>,
    request: HttpRequest,
    client: ClientAddress,
    query: Query,
    body: Body,
) -> Result<Json<Object>, ApiError> {
    let bytes = body.bytes();
    let is_empty =
        bytes.as_ref().is_ok_and(|bytes| matches!(bytes.trim_ascii(), b"" | b"null" | b"{}"));
    let fields = if is_empty && query.0.has("token") {
        limit_client(&app, app.limits.proof_per_client.as_ref(), client, 1)?;
        query.0
    } else {
        Caller::from_request(&request, &mut Payload::None).await?;
        Fields::from_json(&bytes?)?
    };
    let token = fields.opaque_id("token")?.to_owned();
    let mxid: UserId = fields.parsed("mxid")?;
    let seed: Option<[u8; 32]> =
        fields.base64("private_key")?.and_then(|seed| seed.try_into().ok());
    let seed = seed.ok_or_else(|| {
        ApiError::InvalidParam("private_key must be the base64 of 32 bytes".to_owned())
    })?;
    let key = SigningKey::from_seed(&seed);
    Ok(Json(service::invite::sign(&app, token, &mxid, &key).await?))
}

/// `GET /_matrix/identity/v2/pubkey/ephemeral/isvalid` — [spec](https://spec.matrix.org/v1.19/identity-service-api/#get_matrixidentityv2pubkeyephemeralisvalid)
pub(super) async fn is_valid(app: Data<App>, query: Query) -> Result<Json<Value>, ApiError> {
    let valid = match query.0.base64("public_key")? {
        Some(key) => service::invite::is_ephemeral_key(&app, key).await?,
        None => false,
    };
    Ok(Json(json!({ "valid": valid })))
}
