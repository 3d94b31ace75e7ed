//! What templates can say: for each template its variables, from here to the compiler, to the
//! overrides of operators, to `bindery templates list` and to the documentation.

use std::ops::Deref;

use serde::Serialize;

use super::phrase::Rich;

/// A variable as its documentation says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Variable {
    /// Its name in templates.
    pub name: &'static str,
    /// What it holds.
    pub about: &'static str,
    /// Whether it is HTML in templates whose names end with `.html`, and is written there as
    /// `{{ name|safe }}`.
    pub is_html: bool,
}

/// A template that can be overridden.
#[derive(Debug, Clone)]
pub struct Template {
    /// Its path below the templates.
    pub name: &'static str,
    /// What is built in.
    pub source: &'static str,
    /// What it can say.
    pub variables: Vec<Variable>,
}

/// The values of a template's variables.
pub(super) trait Values: Serialize {
    /// Renders the built-in template of this name.
    fn render(&self, name: &str) -> askama::Result<String>;
}

macro_rules! source {
    ($path:tt) => {
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/templates/", $path))
    };
}

macro_rules! variables {
    ($(
        $(#[doc = $about:literal])*
        $Variables:ident { $($(#[doc = $what:literal])* $name:ident: $type:ty,)* }
        for { $($Template:ident: $path:tt,)* }
    )*) => {
        $(
            $(#[doc = $about])*
            #[derive(Debug, Clone, Serialize)]
            pub(super) struct $Variables { $($(#[doc = $what])* pub(super) $name: $type,)* }

            impl $Variables {
                const LIST: &[Variable] = &[$(Variable {
                    name: stringify!($name),
                    about: concat!($($what),*).trim_ascii_start(),
                    is_html: matches!(stringify!($type).as_bytes(), b"Rich"),
                },)*];
            }

            $(
                #[derive(askama::Template)]
                #[template(path = $path)]
                struct $Template<'a>(&'a $Variables);

                impl Deref for $Template<'_> {
                    type Target = $Variables;

                    fn deref(&self) -> &$Variables {
                        self.0
                    }
                }
            )*

            impl Values for $Variables {
                fn render(&self, name: &str) -> askama::Result<String> {
                    match name {
                        $($path => askama::Template::render(&$Template(self)),)*
                        _ => Err(askama::Error::Fmt),
                    }
                }
            }
        )*

        const RENDERED: &[Listed] = &[$($(($path, source!($path), &[$Variables::LIST]),)*)*];
    };
}

variables! {
    /// The mail that asks whether an address is somebody's own.
    Validation {
        /// The language, such as `de`, for `<html lang>`.
        locale: String,
        /// Its direction, `ltr` or `rtl`, for `<html dir>`.
        direction: &'static str,
        /// Who writes: the name of the brand and the server's, or the server's only.
        server: String,
        /// The link that proves the address when it is opened.
        link: String,
        /// The token inside of the link, for apps that want it typed.
        token: String,
        /// How long both are valid, in words.
        lifetime: String,
        /// The subject.
        subject: String,
        /// The heading.
        heading: String,
        /// Who asks for what, and why.
        introduction: Rich,
        /// What stands above the link in the text part.
        open_link: String,
        /// What stands on the button.
        button: String,
        /// What stands above the link below the button.
        other_way: String,
        /// What stands above the token.
        enter_token: String,
        /// For how long and for whom link and token are.
        validity: Rich,
        /// What to do if nobody asked for it.
        farewell: String,
    } for {
        ValidationSubject: "mail/validation.subject.txt",
        ValidationText: "mail/validation.txt",
        ValidationHtml: "mail/validation.html",
    }

    /// The mail or message that tells somebody of an invitation.
    Invitation {
        /// The language, such as `de`, for `<html lang>`.
        locale: String,
        /// Its direction, `ltr` or `rtl`, for `<html dir>`.
        direction: &'static str,
        /// Who writes: the name of the brand and the server's, or the server's only.
        server: String,
        /// The link that opens the web client.
        link: String,
        /// To what: `room`, `space` or `direct`.
        kind: &'static str,
        /// The user id of the inviter.
        inviter: String,
        /// Their display name, or nothing.
        inviter_name: String,
        /// The name of the room or space, or nothing.
        room: String,
        /// The letter that stands in place of a picture.
        badge: String,
        /// The subject.
        subject: String,
        /// The heading: to what the invitation is.
        heading: Rich,
        /// From whom it is.
        introduction: Rich,
        /// What Matrix is.
        explanation: String,
        /// How to accept.
        to_accept: String,
        /// What stands above the link in the text part.
        open_link: String,
        /// What stands on the button.
        button: String,
        /// What stands above the link below the button.
        other_way: String,
        /// For whom the invitation is.
        only_you: String,
        /// That the link is secret.
        secrecy: String,
        /// What to do if nobody expected it.
        farewell: String,
    } for {
        InvitationSubject: "mail/invitation.subject.txt",
        InvitationText: "mail/invitation.txt",
        InvitationHtml: "mail/invitation.html",
        InvitationShort: "text/invitation.txt",
    }

    /// The text message with a code.
    TextValidation {
        /// The language, such as `de`.
        locale: String,
        /// Its direction, `ltr` or `rtl`.
        direction: &'static str,
        /// Who writes: the name of the brand and the server's, or the server's only.
        server: String,
        /// The link that proves the address when it is opened.
        link: String,
        /// The code.
        token: String,
        /// How long it is valid, in words.
        lifetime: String,
        /// All of that in a sentence, without the link.
        message: String,
    } for {
        ValidationShort: "text/validation.txt",
    }

    /// What a page says after a link was opened.
    PageResult {
        /// The language, such as `de`, for `<html lang>`.
        locale: String,
        /// Its direction, `ltr` or `rtl`, for `<html dir>`.
        direction: &'static str,
        /// Who speaks: the name of the brand and the server's, or the server's only.
        server: String,
        /// What happened: `validated`, `already_validated`, `expired`, `too_many_attempts`,
        /// `limited`, `unavailable` or `wrong_link`.
        outcome: &'static str,
        /// Whether the address is confirmed now.
        is_confirmed: bool,
        /// What kind of address it is: `email`, `phone` or `other`.
        subject: &'static str,
        /// The title and heading.
        title: String,
        /// What happened, or what comes next.
        explanation: String,
        /// Whether there is something to do.
        has_remedy: bool,
        /// What to do, or nothing.
        remedy: String,
        /// What stands below the page.
        footer: Rich,
    } for {
        PageResultHtml: "page/result.html",
    }

    /// The page that asks for one click.
    PageConfirm {
        /// The language, such as `de`, for `<html lang>`.
        locale: String,
        /// Its direction, `ltr` or `rtl`, for `<html dir>`.
        direction: &'static str,
        /// Who speaks: the name of the brand and the server's, or the server's only.
        server: String,
        /// What kind of address it is: `email`, `phone` or `other`.
        subject: &'static str,
        /// The title and heading.
        title: String,
        /// The address.
        address: String,
        /// Who asks for what, and why.
        introduction: Rich,
        /// Where the form goes.
        action: String,
        /// What the form sends: each has a `name` and a `value`.
        fields: Vec<Field>,
        /// What stands on the button.
        button: String,
        /// What to do if nobody asked for it.
        farewell: String,
        /// What stands below the page.
        footer: Rich,
    } for {
        PageConfirmHtml: "page/confirm.html",
    }

    /// The page at the root of the server.
    PageFront {
        /// The language, such as `de`, for `<html lang>`.
        locale: String,
        /// Its direction, `ltr` or `rtl`, for `<html dir>`.
        direction: &'static str,
        /// Who speaks: the name of the brand and the server's, or the server's only.
        server: String,
        /// The title and heading.
        title: String,
        /// What this server is.
        introduction: String,
        /// What it does.
        explanation: String,
        /// The heading above the kinds of addresses.
        confirms: String,
        /// The kinds of addresses that it confirms, in words.
        mediums: Vec<String>,
        /// The heading above name, base URL and keys.
        identity: String,
        /// What stands before the name.
        name_label: String,
        /// The name under which the server signs.
        name: String,
        /// What stands before the base URL.
        base_url_label: String,
        /// The base URL.
        base_url: String,
        /// What stands before the keys.
        keys_label: String,
        /// What the keys are for.
        keys_explanation: String,
        /// The keys: each has an `id` and a `key`.
        keys: Vec<Key>,
        /// Whether there are terms.
        has_terms: bool,
        /// The heading above the terms.
        terms_heading: String,
        /// Whom they are for.
        terms_explanation: String,
        /// The terms: each has a `name` and a `url`.
        terms: Vec<Term>,
        /// The heading above how it is used with a homeserver.
        homeserver: String,
        /// What stands above the piece of the homeserver's well-known file.
        well_known: Rich,
        /// What stands above the line for Synapse.
        synapse: Rich,
        /// What stands below the page: the program and its version.
        footer: Rich,
    } for {
        PageFrontHtml: "page/front.html",
    }
}

/// A hidden field of a form.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Field {
    pub(super) name: String,
    pub(super) value: String,
}

/// A public key.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Key {
    pub(super) id: String,
    pub(super) key: String,
}

/// A text of the terms.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Term {
    pub(super) name: String,
    pub(super) url: String,
}

/// Name, source, and the lists of variables of which a template has those that are in all.
type Listed = (&'static str, &'static str, &'static [&'static [Variable]]);

/// The frames of mails and pages have the variables that all have which they are around.
const FRAMES: &[Listed] = &[
    ("mail/base.html", source!("mail/base.html"), &[Validation::LIST, Invitation::LIST]),
    (
        "page/base.html",
        source!("page/base.html"),
        &[PageResult::LIST, PageConfirm::LIST, PageFront::LIST],
    ),
    ("page/style.css", source!("page/style.css"), &[]),
];

/// All templates, by name.
#[must_use]
pub fn templates() -> Vec<Template> {
    let all = FRAMES.iter().chain(RENDERED).map(|&(name, source, lists)| {
        let (first, others) = lists.split_first().map_or((&[][..], lists), |(a, b)| (*a, b));
        let in_all = |variable: &&Variable| {
            let same =
                |other: &Variable| (other.name, other.is_html) == (variable.name, variable.is_html);
            others.iter().all(|list| list.iter().any(same))
        };
        let variables = first.iter().filter(in_all).copied().collect();
        Template { name, source, variables }
    });
    let mut all: Vec<_> = all.collect();
    all.sort_by_key(|template| template.name);
    all
}
