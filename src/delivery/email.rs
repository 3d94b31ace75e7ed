//! The form of a mail: its envelope, its headers, its parts.

use std::{
    fmt,
    time::{Duration, UNIX_EPOCH},
};

use lettre::{
    Address, Message,
    address::Envelope,
    message::{
        Body, Mailbox, MultiPart, SinglePart,
        header::{ContentTransferEncoding, ContentType, HeaderName, HeaderValue},
    },
};

use super::Fault;
use crate::{
    clock::SharedClock,
    matrix::{id::ServerName, threepid::ThreePid},
    messages::Mail,
    secret,
};

/// The last second of the year 9999, since the epoch: no later date can be written into a mail.
const LAST_DATE: u64 = 253_402_300_799;

/// Writes the mails of one server.
pub(super) struct Writer {
    from: Mailbox,
    server: ServerName,
    clock: SharedClock,
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer").field("server", &self.server).finish_non_exhaustive()
    }
}

/// A mail that is ready to be sent.
pub(super) struct Letter {
    /// From whom and to whom, as the transport needs it.
    pub(super) envelope: Envelope,
    /// The message with its headers, lines ended by CRLF.
    pub(super) raw: Vec<u8>,
    /// Subject and text, for eyes.
    pub(super) text: String,
}

impl Writer {
    pub(super) fn new(from: Mailbox, server: ServerName, clock: SharedClock) -> Self {
        Self { from, server, clock }
    }

    pub(super) fn now_ms(&self) -> i64 {
        self.clock.now_ms()
    }

    /// The mail with its envelope; `sender` is who it comes from if not the operator.
    pub(super) fn letter(
        &self,
        to: &ThreePid,
        sender: Option<&Mailbox>,
        mail: Mail,
    ) -> Result<Letter, Fault> {
        let Mail { subject, text, html } = mail;
        let for_eyes = format!("{subject}\n\n{text}");
        let plain = SinglePart::builder().header(ContentType::TEXT_PLAIN).body(readable(text));
        let body = MultiPart::alternative().singlepart(plain).singlepart(SinglePart::html(html));
        let (envelope, raw) = self.seal((sender.unwrap_or(&self.from), to), &subject, body)?;
        Ok(Letter { envelope, raw, text: for_eyes })
    }

    /// Puts the headers on.
    fn seal(
        &self,
        (sender, to): (&Mailbox, &ThreePid),
        subject: &str,
        body: MultiPart,
    ) -> Result<(Envelope, Vec<u8>), Fault> {
        let from = sendable(sender.email.as_ref())?;
        let to = sendable(to.address())?;
        let envelope = Envelope::new(Some(from.clone()), vec![to.clone()]).map_err(unwritable)?;
        let since_epoch = Duration::from_millis(u64::try_from(self.now_ms()).unwrap_or(0));
        let auto_submitted = HeaderName::new_from_ascii_str("Auto-Submitted");
        let message = Message::builder()
            .envelope(envelope.clone())
            .from(Mailbox::new(sender.name.clone(), from))
            .to(to.into())
            .subject(subject)
            .date(UNIX_EPOCH + since_epoch.min(Duration::from_secs(LAST_DATE)))
            .message_id(Some(format!(
                "<{}@{}>",
                secret::random_alphanumeric(32),
                self.server.host()
            )))
            // No out-of-office answers, please: RFC 3834, section 5.
            .raw_header(HeaderValue::new(auto_submitted, "auto-generated".to_owned()))
            .multipart(body)
            .map_err(unwritable)?;
        Ok((envelope, message.formatted()))
    }
}

/// The address as SMTP takes it: the domain as A-labels, which every server knows, and what is
/// before the @ in quotes where it needs them (`a..b`; RFC 5321, section 4.1.2).
fn sendable(address: &str) -> Result<Address, Fault> {
    let (local, domain) = address.rsplit_once('@').ok_or(Fault::Address)?;
    let domain = idna::domain_to_ascii(domain).map_err(|_| Fault::Address)?;
    Address::new(local, &domain)
        .or_else(|_| Address::new(format!("\"{local}\""), &domain))
        .map_err(|_| Fault::Address)
}

/// The text as it is, if SMTP allows that (RFC 5321, section 4.5.3.1.6): who looks into the file of a
/// mail can copy the link. lettre would encode whatever is longer than 76 bytes.
fn readable(text: String) -> Body {
    let fits = |line: &str| line.len() <= 998 && !line.contains(['\r', '\0']);
    if text.is_ascii() && text.split('\n').all(fits) {
        let lines = text.replace('\n', "\r\n").into_bytes();
        return Body::dangerous_pre_encoded(lines, ContentTransferEncoding::SevenBit);
    }
    Body::new(text)
}

fn unwritable(error: impl std::error::Error + Send + Sync + 'static) -> Fault {
    Fault::Message(Box::new(error))
}
