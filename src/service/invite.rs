//! Inviting 3PIDs that nobody has bound: the invitation, its keys and its mail.

use serde_json::{Map, Value};
use url::form_urlencoded;

use crate::{
    app::App,
    clock::millis,
    delivery::DeliveryError,
    matrix::{
        id::UserId,
        json::{NotCanonical, Object},
        medium::Medium,
        signing::{SigningKey, encode_base64},
        threepid::ThreePid,
    },
    messages::{Invitation, InvitationKind, Style},
    secret,
    service::{directory, openid, peers},
    store::{
        StoreError, Tx, associations, directory_people,
        invites::{self, Invite, State},
        peer_associations,
    },
    text,
};

/// What a homeserver asks for.
#[derive(Debug)]
pub struct InviteRequest {
    /// Who is invited.
    pub threepid: ThreePid,
    /// To which room; ids of new rooms name no server, so nothing is read out of it.
    pub room_id: String,
    /// By whom.
    pub sender: UserId,
    /// In whose words and in which language the message is.
    pub style: Style,
    /// All that was sent, for the mail.
    pub all: Object,
}

/// What the homeserver puts into the room.
#[derive(Debug)]
pub struct Stored {
    /// What stands for the 3PID.
    pub token: String,
    /// The public half of the invitation's own key.
    pub ephemeral_key: [u8; 32],
    /// The 3PID, so far that its owner knows it and nobody else.
    pub display_name: String,
}

/// Why an invitation wasn't stored.
#[derive(Debug, thiserror::Error)]
pub enum StoreInviteError {
    /// Somebody has bound the 3PID: they can be invited themselves.
    #[error("the 3PID is bound")]
    InUse {
        /// Who it is.
        mxid: String,
    },
    /// There is no mail to 3PIDs of that medium.
    #[error("nobody can be invited by a 3PID of that medium")]
    Medium,
    /// The message couldn't be handed over.
    #[error("{error}")]
    Delivery {
        /// What kind of address it was for.
        medium: Medium,
        /// Why.
        #[source]
        error: DeliveryError,
    },
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Stores an invitation and mails it. The private half of its key goes into the mail only.
///
/// # Errors
/// When somebody has bound the 3PID, or the mail can't be handed over; nothing is stored then.
pub async fn store(app: &App, request: InviteRequest) -> Result<Stored, StoreInviteError> {
    if let Some(mxid) = mxid_elsewhere(app, &request).await? {
        return Err(StoreInviteError::InUse { mxid: mxid.into() });
    }
    let is_served = app.mediums.get(request.threepid.medium().as_str()).is_some();
    let key = SigningKey::generate();
    let (token, ephemeral_key) = (secret::random_token(), key.public());
    let invite = Invite {
        token: token.clone(),
        threepid: request.threepid.clone(),
        room_id: request.room_id.clone(),
        sender: request.sender.to_string(),
        request: kept(&request.all),
        created_at: app.clock.now_ms(),
        state: State::Waiting,
        attempts: 0,
        last_error: None,
    };
    let (origins, directories) = (app.believed_origins(), app.copied_directories());
    app.store
        .write(move |tx| {
            let mut known = associations::hold_mxid_of(tx, &invite.threepid)?;
            if known.is_none() && !directories.is_empty() {
                known = directory_people::find(tx, &directories, &invite.threepid)?;
            }
            if known.is_none() && !origins.is_empty() {
                let now_ms = invite.created_at;
                known = peer_associations::find(tx, &origins, &invite.threepid, now_ms)?
                    .map(|association| association.mxid);
            }
            if let Some(mxid) = known {
                return Err(StoreInviteError::InUse { mxid });
            }
            // Text messages cost money, and the specification knows no such invitations.
            if *invite.threepid.medium() == Medium::Msisdn || !is_served {
                return Err(StoreInviteError::Medium);
            }
            Ok(invites::add(tx, &invite, &ephemeral_key)?)
        })
        .await?;
    if let Err(error) = mail(app, &request, &token, &key).await {
        app.store.write(move |tx| invites::remove(tx, &token)).await?;
        let medium = request.threepid.medium().clone();
        return Err(StoreInviteError::Delivery { medium, error });
    }
    let display_name = redacted(request.threepid.address());
    Ok(Stored { token, ephemeral_key, display_name })
}

/// Who has the 3PID by a directory, or else has bound it at a peer, unless somebody has bound it
/// here.
async fn mxid_elsewhere(app: &App, request: &InviteRequest) -> Result<Option<UserId>, StoreError> {
    let (threepid, now_ms) = (request.threepid.clone(), app.clock.now_ms());
    let is_bound = move |tx: &mut Tx<'_>| associations::find(tx, &threepid, now_ms);
    if app.store.read(is_bound).await?.is_some() {
        return Ok(None);
    }
    let asked = [request.threepid.clone()];
    let in_directory = directory::find(app, &asked).await.remove(&request.threepid);
    if in_directory.is_some() || openid::is_peer(&request.sender) {
        return Ok(in_directory);
    }
    Ok(peers::ask(app, asked).await?.remove(&request.threepid))
}

/// What is kept of a request: all but the token of a guest's account, which goes into the mail only.
fn kept(all: &Object) -> String {
    let mut kept = all.clone();
    kept.remove("guest_access_token");
    Value::Object(kept).to_string()
}

async fn mail(
    app: &App,
    request: &InviteRequest,
    token: &str,
    key: &SigningKey,
) -> Result<(), DeliveryError> {
    let name = |field: &str| Some(text_of(&request.all, field)).filter(is_visible);
    let link = web_link(app, request, token, key);
    let invitation = Invitation {
        kind: kind_of(&request.all),
        inviter: request.sender.as_str(),
        inviter_name: name("sender_display_name"),
        room_name: name("room_name").or_else(|| name("room_alias")),
        link: &link,
    };
    let sent = app.delivery.send_invitation(&request.threepid, &request.style, &invitation).await;
    app.count_message(&request.threepid, &sent);
    sent
}

/// A text that the homeserver sent; empty where it sent none.
fn text_of<'a>(all: &'a Object, field: &str) -> &'a str {
    all.get(field).and_then(Value::as_str).unwrap_or_default()
}

/// Whether there is something to see in a name.
fn is_visible(name: &&str) -> bool {
    text::one_line(name, LONGEST_NAME).is_some()
}

/// Whether it is a space, a chat of two or a room. Homeservers don't say which of the latter two;
/// a room that nobody gave a name, an alias or a picture is taken for a chat.
fn kind_of(all: &Object) -> InvitationKind {
    let is_bare = ["room_name", "room_alias", "room_avatar_url"]
        .iter()
        .all(|field| text_of(all, field).is_empty());
    if text_of(all, "room_type") == "m.space" {
        InvitationKind::Space
    } else if all.get("is_direct").and_then(Value::as_bool).unwrap_or(is_bare) {
        InvitationKind::Direct
    } else {
        InvitationKind::Room
    }
}

/// The longest name in a link, in characters.
const LONGEST_NAME: usize = 64;

/// The longest of the other things that a homeserver puts into a link, in bytes: a URL, a token.
const LONGEST_PART: usize = 1024;

/// The link into the web client, with what Element reads from it. What is longer than it can
/// sensibly be is left out.
fn web_link(app: &App, request: &InviteRequest, token: &str, key: &SigningKey) -> String {
    let part = |field: &str| text_of(&request.all, field);
    let base_url = &app.config.server.base_url;
    let keys = form_urlencoded::Serializer::new(String::new())
        .append_pair("token", token)
        .append_pair("private_key", &encode_base64(&key.seed()))
        .finish();
    let sign_url = format!("{base_url}/_matrix/identity/v2/sign-ed25519?{keys}");
    let mut query = form_urlencoded::Serializer::new(String::new());
    match request.threepid.medium() {
        Medium::Email => query.append_pair("email", request.threepid.address()),
        medium => query
            .append_pair("medium", medium.as_str())
            .append_pair("address", request.threepid.address()),
    };
    query.append_pair("signurl", &sign_url);
    for (parameter, field) in [("room_name", "room_name"), ("inviter_name", "sender_display_name")]
    {
        if let Some(name) = text::one_line(part(field), LONGEST_NAME) {
            query.append_pair(parameter, &name);
        }
    }
    for field in ["room_avatar_url", "guest_access_token", "guest_user_id", "room_type"] {
        let value = part(field);
        if !value.is_empty() && value.len() <= LONGEST_PART {
            query.append_pair(field, value);
        }
    }
    let room: String = form_urlencoded::byte_serialize(request.room_id.as_bytes()).collect();
    let client = web_client(app, &request.style, part("org.matrix.web_client_location"));
    // In a fragment nobody undoes the form encoding of a space.
    let query = query.finish().replace('+', "%20");
    format!("{client}/#/room/{}?{query}", room.replace('+', "%20"))
}

/// The web client that the homeserver wishes, if the operator trusts it; else the brand's or the
/// operator's own.
fn web_client<'a>(app: &'a App, style: &Style, wished: &'a str) -> &'a str {
    let wished = wished.trim_end_matches('/');
    let config = &app.config.invites;
    if config.other_web_clients.iter().any(|trusted| trusted == wished) {
        wished
    } else {
        app.messages.web_client(style).unwrap_or(&config.web_client)
    }
}

/// An address of which only the beginnings are left: `f...@b...`. Whoever reads the room may see
/// it, so of a part that is one character long not even that is shown.
fn redacted(address: &str) -> String {
    let part = |text: &str| {
        let mut chars = text.chars();
        match (chars.next(), chars.next()) {
            (Some(first), Some(_)) => format!("{first}..."),
            _ => "...".to_owned(),
        }
    };
    match address.split_once('@') {
        Some((local, domain)) => format!("{}@{}", part(local), part(domain)),
        None => part(address),
    }
}

/// Why nothing was signed.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    /// No invitation has that token.
    #[error("no such invitation")]
    Unknown,
    /// It can't be signed.
    #[error("it can't be signed")]
    Sign(#[from] NotCanonical),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Signs, for the one who was invited, that `mxid` is the one whom the invitation `token` is for,
/// with the key out of the mail.
///
/// # Errors
/// When there is no such invitation.
pub async fn sign(
    app: &App,
    token: String,
    mxid: &UserId,
    key: &SigningKey,
) -> Result<Object, SignError> {
    let of_token = token.clone();
    let invite = app.store.read(move |tx| invites::find(tx, &of_token)).await?;
    let invite = invite.ok_or(SignError::Unknown)?;
    let mut object: Object = Map::from_iter([
        ("mxid".to_owned(), Value::from(mxid.as_str())),
        ("sender".to_owned(), Value::from(invite.sender)),
        ("token".to_owned(), Value::from(token)),
    ]);
    key.sign(&app.config.server.name, &mut object)?;
    Ok(object)
}

/// Whether `key` belongs to an invitation.
///
/// # Errors
/// When the database fails.
pub async fn is_ephemeral_key(app: &App, key: Vec<u8>) -> Result<bool, StoreError> {
    app.store.read(move |tx| invites::is_ephemeral_key(tx, &key)).await
}

/// How many waiting 3PIDs are looked up at a time.
const BATCH: i64 = 1000;

/// Asks directories and peers about 3PIDs for which invitations wait and which weren't looked up for
/// long: who has one by them gets the invitations as if it had been bound here. Answers how many are
/// owed now.
///
/// # Errors
/// When the database fails.
pub async fn look_up_waiting(app: &App) -> Result<usize, StoreError> {
    let now_ms = app.clock.now_ms();
    let before_ms = now_ms.saturating_sub(millis(app.config.peers.lookup_interval));
    let waiting = move |tx: &mut Tx<'_>| invites::waiting(tx, before_ms, BATCH);
    let threepids = app.store.read(waiting).await?;
    if threepids.is_empty() {
        return Ok(0);
    }
    let looked_up = threepids.clone();
    app.store.write(move |tx| invites::set_looked_up(tx, &looked_up, now_ms)).await?;
    let mut found = directory::find(app, &threepids).await;
    let unknown = threepids.into_iter().filter(|threepid| !found.contains_key(threepid));
    let elsewhere = peers::ask(app, unknown.collect::<Vec<_>>()).await?;
    found.extend(elsewhere);
    directory::owe(app, found).await
}

/// Forgets invitations that nobody took for long.
///
/// # Errors
/// When the database fails.
pub async fn forget_old(app: &App) -> Result<usize, StoreError> {
    let before_ms = app.clock.now_ms() - millis(app.config.invites.lifetime);
    app.store.write(move |tx| invites::remove_older(tx, before_ms)).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redacted_address_shows_its_owner_enough_and_others_too_little() {
        for (address, shown) in [
            ("foo@bar.example", "f...@b..."),
            ("f@bar.example", "...@b..."),
            ("émile@ü", "é...@..."),
        ] {
            assert_eq!(redacted(address), shown);
        }
    }

    #[test]
    fn a_bare_room_is_a_chat_and_a_space_a_space() {
        let kind = |json: Value| kind_of(json.as_object().unwrap());
        let json = |text: &str| serde_json::from_str::<Value>(text).unwrap();
        assert_eq!(kind(json(r#"{"room_name": "", "room_alias": null}"#)), InvitationKind::Direct);
        assert_eq!(kind(json(r##"{"room_alias": "#a:b"}"##)), InvitationKind::Room);
        assert_eq!(kind(json(r#"{"room_type": "m.space"}"#)), InvitationKind::Space);
        assert_eq!(kind(json(r#"{"is_direct": false}"#)), InvitationKind::Room);
    }
}
