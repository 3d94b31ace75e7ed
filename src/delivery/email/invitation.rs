//! What an invitation mail says.

use askama::Template;

use super::{
    super::{Invitation, InvitationKind},
    Words,
};
use crate::text;

/// In characters: enough for a name, and too few for an advertisement.
const LONGEST_NAME: usize = 64;

/// In characters, as the specification allows it in bytes: of an id nothing may be missing.
const LONGEST_ID: usize = 255;

#[derive(Template)]
#[template(path = "mail/invitation.subject.txt")]
struct Subject<'a> {
    it: &'a Shown,
}

#[derive(Template)]
#[template(path = "mail/invitation.txt")]
struct Text<'a> {
    it: &'a Shown,
    link: &'a str,
}

#[derive(Template)]
#[template(path = "mail/invitation.html")]
struct Html<'a> {
    subject: &'a str,
    it: &'a Shown,
    link: &'a str,
}

/// The invitation as far as it is shown, made harmless.
struct Shown {
    /// `room`, `space` or `direct chat`.
    kind: &'static str,
    inviter: String,
    inviter_name: Option<String>,
    room: Option<String>,
    /// What the round badge shows in place of a picture: that would have to be loaded, and so tell
    /// somebody that the mail was read.
    badge: String,
}

impl Shown {
    fn new(invitation: &Invitation<'_>) -> Self {
        let named = |name: Option<&str>| text::one_line(name?, LONGEST_NAME);
        let inviter_name = named(invitation.inviter_name);
        let room = match invitation.kind {
            InvitationKind::Direct => None,
            InvitationKind::Room | InvitationKind::Space => named(invitation.room_name),
        };
        let inviter = text::one_line(invitation.inviter, LONGEST_ID).unwrap_or_default();
        let badge = first_letter(room.as_ref().or(inviter_name.as_ref()).unwrap_or(&inviter));
        let unlinked = |name: String| text::without_links(&name);
        Self {
            kind: match invitation.kind {
                InvitationKind::Room => "room",
                InvitationKind::Space => "space",
                InvitationKind::Direct => "direct chat",
            },
            inviter: text::without_links(&inviter),
            inviter_name: inviter_name.map(unlinked),
            room: room.map(unlinked),
            badge,
        }
    }
}

/// The first letter or digit in upper case, else the first character (of a name such as `🎉`).
fn first_letter(name: &str) -> String {
    let mut characters = name.chars();
    let first = characters.clone().find(|c| c.is_alphanumeric()).or_else(|| characters.next());
    first.into_iter().flat_map(char::to_uppercase).collect()
}

pub(super) fn words(invitation: &Invitation<'_>) -> askama::Result<Words> {
    let it = &Shown::new(invitation);
    let link = invitation.link;
    let subject = Subject { it }.render()?;
    let text = Text { it, link }.render()?;
    let html = Html { subject: &subject, it, link }.render()?;
    Ok(Words { subject, text, html })
}
