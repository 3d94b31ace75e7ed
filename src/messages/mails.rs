//! What a message says: the words of its language, with what is different each time.

use super::{
    Invitation, InvitationKind, ValidationMessage,
    phrase::{Filling, Form, Rich},
    speaker::Speaker,
    variables::{self, TextValidation},
};
use crate::text;

/// In characters: enough for a name, and too few for an advertisement.
const LONGEST_NAME: usize = 64;

/// In characters, as the specification allows it in bytes: of an id nothing may be missing.
const LONGEST_ID: usize = 255;

impl Speaker {
    pub(super) fn validation(
        &self,
        form: Form,
        message: &ValidationMessage<'_>,
    ) -> variables::Validation {
        let words = &self.words.validation;
        let lifetime = self.in_words(message.lifetime);
        let name = &Filling::plain(&self.name);
        variables::Validation {
            locale: self.locale.clone(),
            direction: self.direction,
            server: self.name.clone(),
            link: message.link.to_owned(),
            token: message.token.to_owned(),
            subject: words.subject.fill(Form::Text, &[("server", name)]).0,
            heading: words.heading.plain(),
            introduction: words.introduction.fill(form, &[("server", &self.strong_name())]),
            open_link: words.open_link.plain(),
            button: words.button.plain(),
            other_way: self.words.mail.other_way.plain(),
            enter_token: words.enter_token.plain(),
            validity: words.validity.fill(form, &[("lifetime", &Filling::strong(&lifetime))]),
            farewell: words.farewell.plain(),
            lifetime,
        }
    }

    pub(super) fn text_validation(&self, message: &ValidationMessage<'_>) -> TextValidation {
        let lifetime = self.in_words(message.lifetime);
        let [token, server, time] = [message.token, &self.name, &lifetime].map(Filling::plain);
        let fillings = [("token", &token), ("server", &server), ("lifetime", &time)];
        TextValidation {
            locale: self.locale.clone(),
            direction: self.direction,
            server: self.name.clone(),
            link: message.link.to_owned(),
            token: message.token.to_owned(),
            message: self.words.text.validation.fill(Form::Text, &fillings).0,
            lifetime,
        }
    }

    pub(super) fn invitation(
        &self,
        form: Form,
        invitation: &Invitation<'_>,
    ) -> variables::Invitation {
        let it = Shown::new(invitation);
        let said = self.said_of(form, &it);
        let words = &self.words.invitation;
        variables::Invitation {
            locale: self.locale.clone(),
            direction: self.direction,
            server: self.name.clone(),
            link: invitation.link.to_owned(),
            kind: match it.kind {
                InvitationKind::Room => "room",
                InvitationKind::Space => "space",
                InvitationKind::Direct => "direct",
            },
            subject: said.subject,
            heading: said.heading,
            introduction: said.introduction,
            explanation: words.explanation.plain(),
            to_accept: words.to_accept.plain(),
            open_link: words.open_link.plain(),
            button: words.button.plain(),
            other_way: self.words.mail.other_way.plain(),
            only_you: words.only_you.plain(),
            secrecy: words.secrecy.plain(),
            farewell: words.farewell.plain(),
            inviter: it.inviter,
            inviter_name: it.inviter_name.unwrap_or_default(),
            room: it.room.unwrap_or_default(),
            badge: it.badge,
        }
    }

    fn said_of(&self, form: Form, it: &Shown) -> Said {
        let short = Filling::plain(it.inviter_name.as_ref().unwrap_or(&it.inviter));
        let who = ("inviter", &it.who());
        let place = match it.kind {
            InvitationKind::Direct => {
                let words = &self.words.invitation_direct;
                return Said {
                    subject: words.subject.fill(Form::Text, &[("inviter", &short)]).0,
                    heading: words.heading.fill(form, &[]),
                    introduction: words.introduction.fill(form, &[who]),
                };
            }
            InvitationKind::Room => &self.words.invitation_room,
            InvitationKind::Space => &self.words.invitation_space,
        };
        let (subject, heading) = match it.room {
            Some(_) => (&place.subject_named, &place.heading_named),
            None => (&place.subject, &place.heading),
        };
        let room = it.room.as_deref().unwrap_or_default();
        let plain_room = Filling::plain(room);
        let room = Filling::marked("<span dir=\"auto\">", room, "</span>");
        Said {
            subject: subject.fill(Form::Text, &[("inviter", &short), ("room", &plain_room)]).0,
            heading: heading.fill(form, &[("room", &room)]),
            introduction: place.introduction.fill(form, &[who]),
        }
    }
}

/// What depends on what somebody is invited to.
struct Said {
    subject: String,
    heading: Rich,
    introduction: Rich,
}

/// The invitation as far as it is shown, made harmless.
struct Shown {
    kind: InvitationKind,
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
            kind: invitation.kind,
            inviter: text::without_links(&inviter),
            inviter_name: inviter_name.map(unlinked),
            room: room.map(unlinked),
            badge,
        }
    }

    /// The inviter's name with the id, which can't be made up, or else the id.
    fn who(&self) -> Filling {
        match &self.inviter_name {
            Some(name) => {
                let id = Filling::marked("<span dir=\"ltr\">", &self.inviter, "</span>");
                Filling::marked("<strong dir=\"auto\">", name, "</strong>").with(&id)
            }
            None => Filling::marked("<strong dir=\"ltr\">", &self.inviter, "</strong>"),
        }
    }
}

/// The first letter or digit in upper case, else the first character (of a name such as `🎉`).
fn first_letter(name: &str) -> String {
    let mut characters = name.chars();
    let first = characters.clone().find(|c| c.is_alphanumeric()).or_else(|| characters.next());
    first.into_iter().flat_map(char::to_uppercase).collect()
}
