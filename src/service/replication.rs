//! What neighbours tell us of their binds and unbinds: believed as far as it is signed by them and
//! theirs to say; the rest goes into the quarantine.

use serde_json::{Value, value::RawValue};

use crate::{
    app::App,
    config::Neighbour,
    matrix::{
        id::UserId,
        json::Object,
        medium::{InvalidThreepid, Medium},
        signing::verifies,
        threepid::{InvalidAddress, ThreePid},
    },
    metrics::Received,
    service::index,
    store::{
        StoreError, Tx, invites,
        peer_associations::{self, Bound, News},
        peppers, quarantine,
    },
};

/// Why something that a neighbour sent isn't believed.
#[derive(Debug, thiserror::Error)]
enum Disbelief {
    #[error("its number is no whole number")]
    Number,
    #[error("it is no JSON object")]
    NoObject,
    #[error("no signature of the neighbour with one of its configured keys verifies")]
    Signature,
    #[error("`{0}` is missing or of the wrong type")]
    Field(&'static str),
    #[error("{0}")]
    Address(InvalidAddress),
    #[error("the medium or the address is empty or too long")]
    Length,
    #[error("the neighbour may not speak for this address (`domains`)")]
    Domain,
}

/// Something that a neighbour sent.
pub struct Sent {
    /// The neighbour's number for it.
    pub id: String,
    /// The association, which may be anything.
    pub association: Box<RawValue>,
}

/// What became of a push.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Counts {
    taken: u64,
    known: u64,
    quarantined: u64,
}

/// What is kept at most of something that can't be believed, in bytes.
const KEPT_BODY: usize = 16 * 1024;

/// The longest name of a medium, and the longest address of one that isn't served here, in bytes.
const LONGEST: usize = 255;

/// Takes what `neighbour` sent. Invitations that wait for an address that it has bound are owed to
/// the homeserver of its user from then on.
///
/// # Errors
/// When the database fails; nothing is taken then.
pub async fn take(app: &App, neighbour: &Neighbour, sent: &[Sent]) -> Result<(), StoreError> {
    let judged = ordered(sent.iter().map(|sent| judge(app, neighbour, sent)).collect());
    let (origin, now_ms) = (neighbour.name.to_string(), app.clock.now_ms());
    let believed = judged.iter().filter_map(|judged| judged.result.as_ref().ok());
    let threepids: Vec<ThreePid> = believed.map(|news| news.threepid.clone()).collect();
    let stored = move |tx: &mut Tx<'_>| {
        let peppers = peppers::hold_current(tx)?.ok_or(StoreError::NoPepper)?;
        let news = judged.iter().filter_map(|judged| judged.result.as_ref().ok());
        peer_associations::hold(tx, &origin, news.map(|news| &news.threepid))?;
        let (mut counts, mut owed) = (Counts::default(), 0);
        for Judged { id, result } in &judged {
            match result {
                Ok(news) if peer_associations::take(tx, &origin, news, &peppers)? => {
                    counts.taken += 1;
                    quarantine::release(tx, &origin, id)?;
                    if let Some(bound) = &news.bound {
                        owed += invites::owe(tx, &news.threepid, &bound.mxid, now_ms)?;
                    }
                }
                Ok(_) => counts.known += 1,
                Err((reason, body)) => {
                    counts.quarantined += 1;
                    let entry = (id.as_str(), reason.as_str(), body.as_str());
                    quarantine::add(tx, &origin, entry, now_ms)?;
                }
            }
        }
        Ok::<_, StoreError>((counts, owed))
    };
    let (counts, owed) = app.store.write(stored).await?;
    index::refresh(app, threepids).await;
    if owed > 0 {
        app.onbind_is_due.notify_one();
    }
    tell_monitoring(app, neighbour, counts);
    Ok(())
}

/// Keeps the whole body of a push that is no such thing.
///
/// # Errors
/// When the database fails.
pub async fn take_unreadable(
    app: &App,
    neighbour: &Neighbour,
    body: &[u8],
) -> Result<(), StoreError> {
    let (origin, now_ms) = (neighbour.name.to_string(), app.clock.now_ms());
    let body = beginning(&String::from_utf8_lossy(body), KEPT_BODY);
    app.store
        .write::<_, StoreError>(move |tx| {
            quarantine::add(tx, &origin, ("", "the request is no push in JSON", &body), now_ms)
        })
        .await?;
    tell_monitoring(app, neighbour, Counts { quarantined: 1, ..Counts::default() });
    Ok(())
}

fn tell_monitoring(app: &App, neighbour: &Neighbour, counts: Counts) {
    let name = neighbour.name.as_str();
    let Counts { taken, known, quarantined } = counts;
    app.metrics.received(name, Received::Taken, taken);
    app.metrics.received(name, Received::Known, known);
    app.metrics.received(name, Received::Quarantined, quarantined);
    tracing::debug!(name, taken, known, quarantined, "a neighbour told of its associations");
    if quarantined > 0 {
        tracing::warn!(
            name,
            quarantined,
            "a neighbour sent what can't be believed: see `bindery peers quarantine list`"
        );
    }
}

/// Something that a neighbour sent: believed, or the reason why not with what was sent.
struct Judged {
    id: String,
    result: Result<News, (String, String)>,
}

fn judge(app: &App, neighbour: &Neighbour, sent: &Sent) -> Judged {
    let text = sent.association.get();
    let result = news(app, neighbour, &sent.id, text)
        .map_err(|disbelief| (disbelief.to_string(), beginning(text, KEPT_BODY)));
    Judged { id: beginning(&sent.id, LONGEST), result }
}

/// In the neighbour's order: one that comes later is newer.
fn ordered(mut judged: Vec<Judged>) -> Vec<Judged> {
    judged.sort_by_key(|judged| judged.result.as_ref().map_or(i64::MAX, |news| news.origin_id));
    judged
}

fn news(app: &App, neighbour: &Neighbour, id: &str, text: &str) -> Result<News, Disbelief> {
    let origin_id = id.parse().map_err(|_| Disbelief::Number)?;
    let object: Object = serde_json::from_str(text).map_err(|_| Disbelief::NoObject)?;
    let name = &neighbour.name;
    if !neighbour.keys.iter().any(|(key_id, key)| verifies(&object, name, key_id, key)) {
        return Err(Disbelief::Signature);
    }
    let threepid = threepid(app, &object)?;
    if !may_speak_for(neighbour, &threepid) {
        return Err(Disbelief::Domain);
    }
    Ok(News { origin_id, threepid, ts: number(&object, "ts")?, bound: bound(&object)? })
}

fn threepid(app: &App, object: &Object) -> Result<ThreePid, Disbelief> {
    let (medium, address) = (text(object, "medium")?, text(object, "address")?);
    let fits = |text: &str| (1..=LONGEST).contains(&text.len()) && !text.contains('\0');
    match app.mediums.threepid(medium, address) {
        Ok(threepid) => Ok(threepid),
        Err(InvalidThreepid::Address(_, fault)) => Err(Disbelief::Address(fault)),
        // What isn't served here may be looked up all the same.
        Err(InvalidThreepid::Medium) if fits(medium) && fits(address) => {
            Ok(ThreePid::canonical(Medium::named(medium), address.to_owned()))
        }
        Err(InvalidThreepid::Medium) => Err(Disbelief::Length),
    }
}

/// Whether the neighbour is confined to no domains, or to that of an e-mail address.
fn may_speak_for(neighbour: &Neighbour, threepid: &ThreePid) -> bool {
    if neighbour.domains.is_empty() {
        return true;
    }
    let domain = threepid.address().rsplit_once('@').map(|(_, domain)| domain);
    let ascii = domain.and_then(|domain| idna::domain_to_ascii(domain).ok());
    *threepid.medium() == Medium::Email
        && ascii.is_some_and(|ascii| neighbour.domains.contains(&ascii))
}

/// To whom the association binds; `None` where it is a removal.
fn bound(object: &Object) -> Result<Option<Bound>, Disbelief> {
    if object.get("mxid") == Some(&Value::Null) {
        return Ok(None);
    }
    let mxid: UserId = text(object, "mxid")?.parse().map_err(|_| Disbelief::Field("mxid"))?;
    let (not_before, not_after) = (number(object, "not_before")?, number(object, "not_after")?);
    Ok(Some(Bound { mxid, not_before, not_after, signed: only_association(object) }))
}

/// All that an association holds; `signatures` and `unsigned` are never signed.
const KEYS: [&str; 8] =
    ["address", "medium", "mxid", "not_before", "not_after", "ts", "signatures", "unsigned"];

/// The association as it was signed. A Sydent can send others' invitations along, which are nobody's
/// business; without them no signature would verify, so that nothing is kept.
fn only_association(object: &Object) -> Option<String> {
    let is_ours = |key: &String| KEYS.contains(&key.as_str());
    if !object.keys().all(is_ours) {
        return None;
    }
    let mut signed = object.clone();
    signed.remove("unsigned");
    Some(Value::Object(signed).to_string())
}

fn text<'a>(object: &'a Object, field: &'static str) -> Result<&'a str, Disbelief> {
    object.get(field).and_then(Value::as_str).ok_or(Disbelief::Field(field))
}

fn number(object: &Object, field: &'static str) -> Result<i64, Disbelief> {
    object.get(field).and_then(Value::as_i64).ok_or(Disbelief::Field(field))
}

/// As much of a text as is kept. PostgreSQL takes no NUL.
fn beginning(text: &str, length: usize) -> String {
    let end = (0..=length.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
    text.get(..end.unwrap_or(0)).unwrap_or_default().replace('\0', "\u{fffd}")
}
