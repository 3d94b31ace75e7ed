//! Opening, validating and reading validation sessions.

use std::{net::IpAddr, time::Duration};

use tokio::time::{Instant, sleep};
use url::Url;

use crate::{
    app::App,
    clock::{LEASE_MARGIN, millis},
    delivery::DeliveryError,
    matrix::{id::UserId, medium::Medium, phone::Phone, threepid::ThreePid},
    messages::{Style, ValidationMessage},
    secret::{self, SecretHash},
    service::sms::{self, Admitted, SmsRefusal, Source},
    store::{
        StoreError, Tx,
        sessions::{self, Session, SessionFault, SessionKey},
    },
};

/// How often a request looks whether another one is done with sending.
const PERIOD: Duration = Duration::from_millis(200);

/// How many of the tokens that were sent for a session stay good.
const GOOD_TOKENS: usize = 3;

/// How long an expired session is remembered as expired.
const REMEMBERED: Duration = Duration::from_hours(7 * 24);

/// A wish for a validation message.
#[derive(Debug)]
pub struct TokenRequest {
    /// Whom the message goes to.
    pub threepid: ThreePid,
    /// What the client proves later that the session is its own with.
    pub client_secret: String,
    /// Counted up by a client that wants another message.
    pub send_attempt: i64,
    /// Where to go after the link was opened.
    pub next_link: Option<Url>,
    /// Whose account asks; a homeserver that asks for one of its users has none.
    pub mxid: Option<UserId>,
    /// Where the request comes from.
    pub client: IpAddr,
    /// In whose words and in which language the message is.
    pub style: Style,
}

/// Why no session was opened.
#[derive(Debug, thiserror::Error)]
pub enum RequestTokenError {
    /// The operator allows no links to that host.
    #[error("next_link leads to a host that is not allowed")]
    NextLink,
    /// No text message goes to that number, or not now.
    #[error(transparent)]
    Sms(#[from] SmsRefusal),
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

/// Opens a session, or finds the one that the client opened before, and sends its message unless
/// that was done for this `send_attempt`. Answers the session's id.
///
/// # Errors
/// When `next_link` isn't allowed, no message may be sent, or it can't be handed over.
pub async fn request_token(app: &App, request: TokenRequest) -> Result<String, RequestTokenError> {
    check_next_link(app, request.next_link.as_ref())?;
    let token = fresh_token(app, request.threepid.medium());
    let plan = Plan {
        threepid: request.threepid.clone(),
        client_secret_hash: secret::hash(&request.client_secret),
        send_attempt: request.send_attempt,
        next_link: request.next_link.clone().map(String::from),
        token_hash: hash_of(request.threepid.medium(), &token, &request.client_secret),
        max_attempts: max_attempts(app),
        oldest: app.oldest_session(),
        lease: app.delivery.timeout(request.threepid.medium()) + LEASE_MARGIN,
        now_ms: app.clock.now_ms(),
    };
    let (sid, to_send) = carry_out(app, plan).await?;
    if to_send {
        send(app, request, &sid, &token).await?;
    }
    Ok(sid)
}

/// Answers the session's id and whether its message is to be sent. While another request is busy
/// sending, this one waits: that one may fail, or its node may be gone.
async fn carry_out(app: &App, mut plan: Plan) -> Result<(String, bool), StoreError> {
    let give_up = Instant::now() + plan.lease;
    loop {
        let this = plan.clone();
        match app.store.write(move |tx| this.carry_out(tx)).await? {
            Next::Send(sid) => return Ok((sid, true)),
            Next::Nothing(sid) => return Ok((sid, false)),
            Next::Wait(sid) if Instant::now() >= give_up => return Ok((sid, false)),
            Next::Wait(sid) => wait_for_other(app, sid, give_up).await?,
        }
        plan.now_ms = app.clock.now_ms();
    }
}

/// Waits while another request sends the message of `sid`, no longer than until `give_up`.
async fn wait_for_other(app: &App, sid: String, give_up: Instant) -> Result<(), StoreError> {
    loop {
        sleep(PERIOD).await;
        let (sid, now_ms) = (sid.clone(), app.clock.now_ms());
        let is_sending = app.store.read(move |tx| sessions::is_sending(tx, &sid, now_ms)).await?;
        if !is_sending || Instant::now() >= give_up {
            return Ok(());
        }
    }
}

/// Sends the message of `sid`, and records that when the transport has taken it: what failed must
/// be sent when it is asked for again, and leads nowhere.
async fn send(
    app: &App,
    request: TokenRequest,
    sid: &str,
    token: &str,
) -> Result<(), RequestTokenError> {
    let sent = hand_over(app, &request, sid, token).await;
    let (sid, is_sent) = (sid.to_owned(), sent.is_ok());
    let next_link = request.next_link.map(String::from);
    app.store
        .write(move |tx| {
            if is_sent {
                sessions::set_next_link(tx, &sid, next_link.as_deref())?;
            }
            sessions::end_sending(tx, &sid, is_sent.then_some(request.send_attempt))
        })
        .await?;
    sent
}

async fn hand_over(
    app: &App,
    request: &TokenRequest,
    sid: &str,
    token: &str,
) -> Result<(), RequestTokenError> {
    let admitted = admit(app, request).await?;
    let link = validation_link(app, request, sid, token);
    let message = ValidationMessage { link: &link, token, lifetime: app.config.sessions.lifetime };
    let sent = app.delivery.send_validation(&request.threepid, &request.style, &message).await;
    app.count_message(&request.threepid, &sent);
    if let (Some(admitted), Err(error)) = (admitted, &sent)
        && error.surely_unsent()
    {
        sms::give_back(app, admitted).await?;
    }
    let medium = request.threepid.medium().clone();
    sent.map_err(|error| RequestTokenError::Delivery { medium, error })
}

/// Asks whether a text message may be sent; `None` for what isn't one.
async fn admit(app: &App, request: &TokenRequest) -> Result<Option<Admitted>, RequestTokenError> {
    if *request.threepid.medium() != Medium::Msisdn {
        return Ok(None);
    }
    let phone = Phone::of_digits(request.threepid.address())
        .map_err(|_| SmsRefusal::Destination("That is no phone number"))?;
    let source = Source { mxid: request.mxid.as_ref(), client: request.client };
    Ok(Some(sms::admit(app, &phone, &source).await?))
}

/// What proves that a message has arrived: a code that people can type, but in a mail, whose link
/// people follow, all that nobody can guess.
fn fresh_token(app: &App, medium: &Medium) -> String {
    match medium {
        Medium::Email => secret::random_token(),
        Medium::Msisdn | Medium::Other(_) => secret::random_digits(app.config.sessions.code_digits),
    }
}

/// What is stored in place of a token.
fn hash_of(medium: &Medium, token: &str, client_secret: &str) -> SecretHash {
    match medium {
        Medium::Email => secret::hash(token),
        Medium::Msisdn | Medium::Other(_) => secret::hash_code(token, client_secret),
    }
}

/// What a request comes to, decided in one transaction.
#[derive(Clone)]
struct Plan {
    threepid: ThreePid,
    client_secret_hash: SecretHash,
    send_attempt: i64,
    next_link: Option<String>,
    token_hash: SecretHash,
    max_attempts: i32,
    oldest: i64,
    /// How long sending the message may take.
    lease: Duration,
    now_ms: i64,
}

/// What is to be done for a session, which is named by its id.
enum Next {
    /// Its message is to be sent.
    Send(String),
    /// Its message was sent.
    Nothing(String),
    /// Somebody else is sending.
    Wait(String),
}

impl Plan {
    fn carry_out(self, tx: &mut Tx<'_>) -> Result<Next, StoreError> {
        sessions::lock_secret(tx, &self.client_secret_hash)?;
        let known = sessions::newest_of(tx, &self.threepid, &self.client_secret_hash)?
            .filter(|session| session.modified_at > self.oldest);
        let sid = match known {
            Some(session) if session.send_attempt.is_some_and(|sent| self.send_attempt <= sent) => {
                self.leave_unsent(tx, &session.sid)?;
                return Ok(Next::Nothing(session.sid));
            }
            Some(session)
                if session.validated_at.is_none() && session.wrong_attempts < self.max_attempts =>
            {
                session.sid
            }
            // A validated session can't be validated again, a dead one not at all.
            _ => self.open(tx)?,
        };
        let lease = (self.now_ms, self.now_ms + millis(self.lease));
        if !sessions::claim_sending(tx, &sid, self.send_attempt, lease)? {
            self.leave_unsent(tx, &sid)?;
            return Ok(Next::Wait(sid));
        }
        sessions::add_token(tx, &sid, &self.token_hash, (self.now_ms, GOOD_TOKENS))?;
        Ok(Next::Send(sid))
    }

    /// Nothing is sent, but the request is granted: of such the latest one's `next_link` counts.
    fn leave_unsent(&self, tx: &mut Tx<'_>, sid: &str) -> Result<(), StoreError> {
        sessions::set_next_link(tx, sid, self.next_link.as_deref())
    }

    fn open(&self, tx: &mut Tx<'_>) -> Result<String, StoreError> {
        let session = Session {
            sid: secret::random_alphanumeric(24),
            threepid: self.threepid.clone(),
            client_secret_hash: self.client_secret_hash.clone(),
            next_link: None,
            send_attempt: None,
            sending_until: 0,
            wrong_attempts: 0,
            validated_at: None,
            modified_at: self.now_ms,
        };
        sessions::add(tx, &session)?;
        Ok(session.sid)
    }
}

fn check_next_link(app: &App, next_link: Option<&Url>) -> Result<(), RequestTokenError> {
    let allowed = &app.config.sessions.next_link_hosts;
    let Some(next_link) = next_link.filter(|_| !allowed.is_empty()) else { return Ok(()) };
    let host = next_link.host_str().unwrap_or_default();
    if allowed.iter().any(|allowed| allowed == host) {
        Ok(())
    } else {
        Err(RequestTokenError::NextLink)
    }
}

fn validation_link(app: &App, request: &TokenRequest, sid: &str, token: &str) -> String {
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    query
        .append_pair("sid", sid)
        .append_pair("client_secret", &request.client_secret)
        .append_pair("token", token);
    // The page that the link opens is in the same words.
    if let Some(brand) = app.messages.brand(&request.style) {
        query.append_pair("brand", brand);
    }
    let (base_url, query) = (&app.config.server.base_url, query.finish());
    let medium = request.threepid.medium();
    format!("{base_url}/_matrix/identity/v2/validate/{medium}/submitToken?{query}")
}

/// Why a token didn't validate a session.
#[derive(Debug, thiserror::Error)]
pub enum SubmitTokenError {
    /// The session can't be used.
    #[error(transparent)]
    Session(#[from] SessionFault),
    /// The token isn't the one that was sent.
    #[error("wrong token")]
    WrongToken,
    /// Too many wrong tokens were submitted.
    #[error("too many wrong tokens")]
    Dead {
        /// When it doesn't matter any more, since the session will be expired.
        retry_after: Duration,
    },
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl SubmitTokenError {
    /// `session` is dead until it expires; sessions of the age `oldest` just have.
    fn dead(session: &Session, oldest: i64) -> Self {
        let left = session.modified_at - oldest;
        Self::Dead { retry_after: Duration::from_millis(u64::try_from(left).unwrap_or(0)) }
    }
}

/// A session whose token was submitted.
#[derive(Debug)]
pub struct Submitted {
    /// Where people go now.
    pub next_link: Option<String>,
    /// Whether the 3PID was validated before: somebody else may have opened the link, or a program
    /// that looks into mails.
    pub again: bool,
}

/// Validates the session's 3PID by the token that was sent to it; doing it again is no error. White
/// space in the token doesn't count: codes are typed in groups.
///
/// # Errors
/// When the session can't be used or the token is wrong, which counts.
pub async fn submit_token(
    app: &App,
    key: SessionKey,
    token: &str,
) -> Result<Submitted, SubmitTokenError> {
    let token: String = token.chars().filter(|c| !c.is_whitespace()).collect();
    let now_ms = app.clock.now_ms();
    let (oldest, max_attempts) = (app.oldest_session(), max_attempts(app));
    let submitted = app
        .store
        .write(move |tx| {
            let session = sessions::owned(tx, &key, oldest)?;
            if !sessions::count_attempt(tx, &session.sid, max_attempts)? {
                return Err(SubmitTokenError::dead(&session, oldest));
            }
            let tokens = sessions::tokens_of(tx, &session.sid)?;
            let given = hash_of(session.threepid.medium(), &token, &key.client_secret);
            let right = tokens.iter().fold(false, |right, sent| secret::same(&given, sent) | right);
            if right {
                sessions::validate(tx, &session.sid, now_ms)?;
            }
            let again = session.validated_at.is_some();
            // A wrong token is no error here: what it counted must be committed.
            Ok(right.then_some(Submitted { next_link: session.next_link, again }))
        })
        .await?;
    submitted.ok_or(SubmitTokenError::WrongToken)
}

/// Reads a session whose token has not been submitted, for a page that asks whether it shall be.
///
/// # Errors
/// When the session can't be used.
pub async fn peek(app: &App, key: SessionKey) -> Result<Session, SubmitTokenError> {
    let (oldest, max_attempts) = (app.oldest_session(), max_attempts(app));
    let session = app.store.read(move |tx| sessions::owned(tx, &key, oldest)).await?;
    if session.wrong_attempts >= max_attempts {
        return Err(SubmitTokenError::dead(&session, oldest));
    }
    Ok(session)
}

/// Reads a validated session.
///
/// # Errors
/// When it is unknown, expired or not validated.
pub async fn get_validated(app: &App, key: SessionKey) -> Result<Session, SessionFault> {
    let oldest = app.oldest_session();
    app.store.read(move |tx| sessions::validated(tx, &key, oldest)).await
}

fn max_attempts(app: &App) -> i32 {
    i32::try_from(app.config.sessions.max_attempts.get()).unwrap_or(i32::MAX)
}

/// Forgets sessions that expired long ago.
///
/// # Errors
/// When the database fails.
pub async fn forget_expired(app: &App) -> Result<usize, StoreError> {
    let before_ms = app.oldest_session() - millis(REMEMBERED);
    app.store.write(move |tx| sessions::remove_older(tx, before_ms)).await
}
