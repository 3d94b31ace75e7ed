//! Reads the directory of an operator: catalogues and templates.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::{Path, PathBuf},
};

use super::{
    catalogue::{self, Words},
    fault::Fault,
    locale, variables,
};

/// The folder of the catalogues.
const LOCALES: &str = "locales";

/// A template that an operator wrote.
#[derive(Debug, Clone)]
pub(super) struct Source {
    /// Where it lies.
    pub(super) path: String,
    pub(super) text: String,
}

/// What a directory holds.
#[derive(Debug, Default)]
pub(super) struct Folder {
    /// By locale.
    pub(super) catalogues: BTreeMap<String, Words>,
    /// By locale, the empty one for all, and name.
    templates: BTreeMap<(String, &'static str), Source>,
}

impl Folder {
    /// The locales that somebody can be spoken to in because of this directory.
    pub(super) fn locales(&self) -> BTreeSet<String> {
        let of_templates = self.templates.keys().map(|(locale, _)| locale);
        let all = self.catalogues.keys().chain(of_templates);
        all.filter(|locale| !locale.is_empty()).cloned().collect()
    }

    /// The template for this locale itself, or for all if the locale is empty.
    pub(super) fn template(&self, locale: &str, name: &'static str) -> Option<&Source> {
        self.templates.get(&(locale.to_owned(), name))
    }

    /// Reads what lies in `directory`; what is wrong is added to `faults`.
    pub(super) fn read(directory: &Path, faults: &mut Vec<Fault>) -> Self {
        let mut reading = Reading { root: directory, folder: Self::default(), faults };
        reading.walk(directory);
        reading.folder
    }
}

struct Reading<'a> {
    root: &'a Path,
    folder: Folder,
    faults: &'a mut Vec<Fault>,
}

impl Reading<'_> {
    fn walk(&mut self, directory: &Path) {
        let found = entries(directory);
        let entries = found.unwrap_or_else(|error| {
            self.faults.push(Fault::unreadable(directory, &error));
            vec![]
        });
        for path in entries {
            if path.is_dir() {
                self.walk(&path);
            } else {
                self.file(&path);
            }
        }
    }

    fn file(&mut self, path: &Path) {
        let below = path.strip_prefix(self.root).unwrap_or(path);
        let name = below.to_string_lossy().replace(std::path::MAIN_SEPARATOR, "/");
        match fs::read_to_string(path) {
            Ok(text) => {
                let source = Source { path: path.display().to_string(), text };
                let taken = match name.strip_prefix(LOCALES).and_then(|n| n.strip_prefix('/')) {
                    Some(name) => self.catalogue(name, &source),
                    None => self.template(&name, source),
                };
                if let Err(error) = taken {
                    self.faults.push(Fault::of(&path.display().to_string(), error));
                }
            }
            Err(error) => self.faults.push(Fault::unreadable(path, &error)),
        }
    }

    fn catalogue(&mut self, name: &str, source: &Source) -> Result<(), String> {
        let tag = name.strip_suffix(".toml").ok_or("a catalogue is called <locale>.toml")?;
        let tag = canonical(tag)?;
        let language = locale::parse(&tag).ok_or("there is no such language")?;
        let (words, faults) = catalogue::read(&source.path, &source.text, &language);
        self.faults.extend(faults);
        self.folder.catalogues.insert(tag, words);
        Ok(())
    }

    fn template(&mut self, name: &str, source: Source) -> Result<(), String> {
        let known = |name: &str| {
            let all = variables::templates().into_iter();
            all.map(|template| template.name).find(|known| *known == name)
        };
        let (locale, name) = match (known(name), name.split_once('/')) {
            (Some(name), _) => (String::new(), name),
            (None, Some((locale, rest))) if known(rest).is_some() => {
                (canonical(locale)?, known(rest).unwrap_or_default())
            }
            _ => {
                let names = variables::templates().into_iter().map(|template| template.name);
                let names = names.collect::<Vec<_>>().join(", ");
                return Err(format!(
                    "this is no template's name; there are: {names}; each of them also in a \
                     folder of a locale, such as de/mail/validation.txt; and {LOCALES}/<locale>.toml"
                ));
            }
        };
        self.folder.templates.insert((locale, name), source);
        Ok(())
    }
}

/// The tag, if it is written as it should be.
fn canonical(tag: &str) -> Result<String, String> {
    match locale::parse(tag).map(|language| language.to_string()) {
        Some(canonical) if canonical == tag => Ok(canonical),
        Some(canonical) => Err(format!("the locale {tag} has to be written {canonical}")),
        None => Err(format!("{tag} is no locale, such as de or de-AT")),
    }
}

/// What is in a directory, in order, but for what is hidden.
fn entries(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut paths = vec![];
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if !entry.file_name().to_string_lossy().starts_with('.') {
            paths.push(entry.path());
        }
    }
    paths.sort();
    Ok(paths)
}
