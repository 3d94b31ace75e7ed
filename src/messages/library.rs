//! The languages and brands that there are, and which of them somebody is spoken to in.

use std::{collections::BTreeMap, sync::Arc};

use minijinja::{Value, value::Serde};

use super::{
    MessagesError, Style, Wish,
    catalogue::{self, Catalogue, Words},
    engine::Engine,
    fault::{Fault, Faults},
    files::{Folder, Source},
    locale, sample,
    speaker::Speaker,
    variables::{self, Values},
};
use crate::config::{Brand, Config, Server};

/// What every text falls back to.
const LAST: &str = "en";

/// The catalogues that are built in.
const BUILT_IN: &[(&str, &str)] = &[
    ("de", include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/templates/locales/de.toml"))),
    ("en", include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/templates/locales/en.toml"))),
    ("es", include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/templates/locales/es.toml"))),
    ("fr", include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/templates/locales/fr.toml"))),
];

/// All that can be said.
pub(super) struct Library {
    /// By brand and locale.
    voices: BTreeMap<(Option<Arc<str>>, Arc<str>), Voice>,
    brands: BTreeMap<Arc<str>, Brand>,
    /// What is spoken where nobody wishes anything.
    default_locale: Arc<str>,
    /// For a style of another library.
    fallback: Voice,
}

/// A brand, or none, speaking one language.
#[derive(Debug)]
pub(super) struct Voice {
    pub(super) speaker: Speaker,
    /// Where there are overrides.
    pub(super) engine: Option<Engine>,
}

impl Voice {
    /// Renders a template, or the built-in one where an override fails.
    pub(super) fn render(
        &self,
        name: &'static str,
        values: &impl Values,
    ) -> Result<String, MessagesError> {
        if let Some(engine) = &self.engine {
            match engine.render(name, Value::from(Serde(values))) {
                Ok(text) => return Ok(text),
                Err(fault) => tracing::error!(%fault, "the built-in template is used instead"),
            }
        }
        values.render(name).map_err(|source| MessagesError::Template { name, source })
    }
}

/// Where texts come from, the most special first: a brand's directory, that of all, the program.
struct Sources<'a> {
    folders: Vec<&'a Folder>,
    built_in: &'a BTreeMap<&'static str, Words>,
}

impl Sources<'_> {
    fn locales(&self) -> Vec<String> {
        let mut all: Vec<String> =
            self.built_in.keys().map(|locale| (*locale).to_owned()).collect();
        all.extend(self.folders.iter().flat_map(|folder| folder.locales()));
        all.sort();
        all.dedup();
        all
    }

    /// The words of a locale, then those of its language, then English ones.
    fn catalogue(&self, locale: &str) -> Option<Catalogue> {
        let mut tags = locale::from_special_to_general(locale);
        tags.push(LAST.to_owned());
        let of_tag = |tag: &String| {
            let folders = self.folders.iter().filter_map(|folder| folder.catalogues.get(tag));
            folders.chain(self.built_in.get(tag.as_str())).collect::<Vec<_>>()
        };
        Catalogue::of(&tags.iter().flat_map(of_tag).collect::<Vec<_>>())
    }

    /// The templates that are overridden for a locale.
    fn overrides(&self, locale: &str) -> BTreeMap<&'static str, Source> {
        let mut tags = locale::from_special_to_general(locale);
        // For all locales.
        tags.push(String::new());
        let find = |name| {
            let mut folders = self.folders.iter();
            folders.find_map(|folder| tags.iter().find_map(|tag| folder.template(tag, name)))
        };
        let names = variables::templates().into_iter().map(|template| template.name);
        names.filter_map(|name| Some((name, find(name)?.clone()))).collect()
    }

    fn voice(
        &self,
        locale: &str,
        (name, server): (String, &Server),
        faults: &mut Vec<Fault>,
    ) -> Option<Voice> {
        let words = self.catalogue(locale)?;
        let direction = locale::direction(locale);
        let (server, base_url) = (server.name.to_string(), server.base_url.clone());
        let locale_tag = locale.to_owned();
        let speaker = Speaker { locale: locale_tag, direction, name, server, base_url, words };
        let overrides = self.overrides(locale);
        if overrides.is_empty() {
            return Some(Voice { speaker, engine: None });
        }
        match Engine::new(overrides) {
            Ok(engine) => {
                faults.extend(sample::faults(&speaker, &engine));
                Some(Voice { speaker, engine: Some(engine) })
            }
            Err(of_engine) => {
                faults.extend(of_engine);
                None
            }
        }
    }
}

impl Library {
    pub(super) fn open(config: &Config) -> Result<Self, Faults> {
        let mut faults = vec![];
        let built_in = built_in(&mut faults);
        let mut read = |directory: &Option<_>| {
            directory.as_deref().map(|directory| Folder::read(directory, &mut faults))
        };
        let own = read(&config.messages.directory);
        let of_brands: Vec<_> =
            config.brands.iter().map(|(id, brand)| (id, brand, read(&brand.directory))).collect();
        let server = config.server.name.as_str();
        let sources = Sources { folders: own.iter().collect(), built_in: &built_in };
        let default_locale =
            check_locale("messages.locale", &config.messages.locale, &sources, &mut faults);
        let mut voices = BTreeMap::new();
        let mut add = |id: Option<&String>, name: &str, sources: &Sources<'_>, faults: &mut _| {
            for locale in sources.locales() {
                let name = (name.to_owned(), &config.server);
                if let Some(voice) = sources.voice(&locale, name, faults) {
                    voices.insert((id.map(|id| Arc::from(id.as_str())), locale.into()), voice);
                }
            }
        };
        add(None, server, &sources, &mut faults);
        for (id, brand, folder) in &of_brands {
            let folders = folder.iter().chain(&own).collect();
            let sources = Sources { folders, built_in: &built_in };
            if let Some(locale) = &brand.locale {
                check_locale(&format!("brands.{id}.locale"), locale, &sources, &mut faults);
            }
            let name = brand.name.as_ref().map(|name| format!("{name} ({server})"));
            add(Some(id), name.as_deref().unwrap_or(server), &sources, &mut faults);
        }
        let plain = Sources { folders: vec![], built_in: &built_in };
        let fallback = plain.voice(LAST, (server.to_owned(), &config.server), &mut faults);
        Faults::check(faults)?;
        let brand = |(id, brand): (&String, &Brand)| (Arc::from(id.as_str()), brand.clone());
        Ok(Self {
            voices,
            brands: config.brands.iter().map(brand).collect(),
            default_locale: default_locale.into(),
            fallback: fallback
                .ok_or_else(|| Faults::of("builtin/locales/en.toml", "lacks a text"))?,
        })
    }
}

impl Library {
    pub(super) fn style(&self, wish: &Wish<'_>) -> Style {
        let brand = wish.brand.and_then(|id| self.brands.get_key_value(id)).or_else(|| {
            let homeserver = wish.homeserver?;
            self.brands.iter().find(|(_, brand)| brand.homeservers.contains(homeserver))
        });
        let id = brand.map(|(id, _)| id.clone());
        let on_offer: Vec<_> = self.locales(id.as_ref()).collect();
        let of_brand = brand.and_then(|(_, brand)| brand.locale.as_deref());
        let locale = wish
            .locale
            .and_then(|wish| locale::look_up(wish, &on_offer))
            .or_else(|| locale::accepted(wish.accept_language?, &on_offer))
            .or_else(|| locale::look_up(of_brand?, &on_offer))
            .map_or_else(|| self.default_locale.clone(), Arc::from);
        Style { brand: id, locale }
    }

    /// The locales that there are for a brand, or for none.
    pub(super) fn locales(&self, brand: Option<&Arc<str>>) -> impl Iterator<Item = &str> {
        let of_brand = self.voices.keys().filter(move |(id, _)| id.as_ref() == brand);
        of_brand.map(|(_, locale)| &**locale)
    }

    pub(super) fn voices(&self) -> impl Iterator<Item = &Voice> {
        self.voices.values()
    }

    pub(super) fn brand(&self, style: &Style) -> Option<&Brand> {
        self.brands.get(style.brand.as_ref()?)
    }

    pub(super) fn voice(&self, style: &Style) -> &Voice {
        let key = (style.brand.clone(), style.locale.clone());
        self.voices.get(&key).unwrap_or(&self.fallback)
    }
}

fn built_in(faults: &mut Vec<Fault>) -> BTreeMap<&'static str, Words> {
    let mut read = BTreeMap::new();
    for (tag, text) in BUILT_IN {
        let Some(language) = locale::parse(tag) else { continue };
        let file = format!("builtin/locales/{tag}.toml");
        let (words, of_file) = catalogue::read(&file, text, &language);
        faults.extend(of_file);
        read.insert(*tag, words);
    }
    read
}

/// The locale for one that the configuration names, which has to be there.
fn check_locale(key: &str, locale: &str, sources: &Sources<'_>, faults: &mut Vec<Fault>) -> String {
    let known = sources.locales();
    let on_offer: Vec<_> = known.iter().map(String::as_str).collect();
    if let Some(found) = locale::look_up(locale, &on_offer) {
        return found.to_owned();
    }
    let message = format!("nothing is written in {locale}; there are: {}", known.join(", "));
    faults.push(Fault::of(key, message));
    LAST.to_owned()
}
