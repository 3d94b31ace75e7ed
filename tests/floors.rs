//! The floors of the crate and the borders of foreign crates, checked by reading the sources.
//!
//! A module imports only from floors below its own, files of one folder know their parent and not
//! each other, and a foreign crate that has a border is named only inside it. Paths are read from
//! the syntax tree, so that groups, `super`, renames and macro arguments count as well.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may fail")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use syn::{
    Attribute, File, Item, ItemMod, ItemUse, Macro, Meta, UseTree,
    buffer::{Cursor, TokenBuffer},
    visit::{self, Visit},
};

/// Lowest first; the modules of one row are strangers to each other.
const FLOORS: &[&[&str]] = &[
    &["cause", "clock", "index", "metrics", "mutual_tls", "roots", "secret", "text"],
    &["matrix", "breaker", "rate_limit"],
    &["config"],
    &["messages"],
    &["store", "delivery", "directory", "federation", "homeserver"],
    &["app"],
    &["service"],
    &["http", "worker"],
    &["cli"],
    &["main"],
];

/// Folders whose files may know each other: a table is joined with another, and the words of the
/// specification are made of one another.
const OPEN_FOLDERS: &[&str] = &["store", "matrix"];

/// Files that the others of their folder stand on, such as what every handler needs. Each may use
/// those before it.
const SHARED: &[(&str, &[&str])] = &[
    ("config", &["tree"]),
    (
        "messages",
        &[
            "fault",
            "locale",
            "phrase",
            "catalogue",
            "variables",
            "speaker",
            "files",
            "engine",
            "sample",
        ],
    ),
    ("delivery", &["provider", "gateway"]),
    ("app", &["freshness"]),
    ("directory", &["asking", "passwords", "sql"]),
    ("service", &["openid", "sms", "index", "peers", "directory", "pepper"]),
    ("http", &["error", "fields", "extract", "lookup", "session", "through"]),
    ("cli", &["keys", "steps", "cursor"]),
];

/// Foreign crates that are named only in (and below) some modules.
const BORDERS: &[(&str, &[&str])] = &[
    ("diesel", &["store", "directory::sql"]),
    ("ldap3", &["directory::ldap", "config::directories"]),
    ("rustix", &["directory::exec", "store"]),
    ("argon2", &["directory::passwords"]),
    ("bcrypt", &["directory::passwords"]),
    ("pbkdf2", &["directory::passwords"]),
    ("scrypt", &["directory::passwords"]),
    ("sha_crypt", &["directory::passwords"]),
    ("diesel_migrations", &["store"]),
    ("libsqlite3_sys", &["store"]),
    ("actix_web", &["http", "cli"]),
    ("actix_tls", &["http"]),
    ("x509_parser", &["mutual_tls"]),
    ("lettre", &["delivery", "config", "messages"]),
    (
        "reqwest",
        &[
            "federation",
            "homeserver",
            "directory::http",
            "delivery::provider",
            "delivery::gateway",
            "delivery::sms",
        ],
    ),
    ("http_body", &["homeserver"]),
    ("twilio", &["delivery::sms"]),
    ("httpclient", &["delivery::sms"]),
    ("hickory_resolver", &["federation"]),
    ("prometheus_client", &["metrics"]),
    ("rlibphonenumber", &["matrix::phone"]),
    ("askama", &["messages"]),
    ("minijinja", &["messages", "delivery::gateway"]),
];

/// In lines, tests included; a longer file holds more than one subject.
const LONGEST_FILE: usize = 450;

#[path = "floors/planted.rs"]
mod planted;

type Names = Vec<String>;

#[test]
fn imports_go_down_and_foreign_crates_keep_to_their_borders() {
    let files = sources(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src")));
    assert!(files.len() > 5, "too few sources were found: {files:?}");
    let faults = faults(&files);
    assert!(faults.is_empty(), "{faults:#?}");
}

/// The sources below `root`, by their path from there.
fn sources(root: &Path) -> BTreeMap<PathBuf, String> {
    let mut found = BTreeMap::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                found.insert(path.strip_prefix(root).unwrap().to_owned(), text);
            }
        }
    }
    found
}

/// What is wrong with a crate of these files, a sentence each.
fn faults(files: &BTreeMap<PathBuf, String>) -> BTreeSet<String> {
    let mut house = House::default();
    let mut faults = BTreeSet::new();
    for (path, text) in files {
        let lines = text.lines().count();
        if lines > LONGEST_FILE {
            faults.insert(format!("{} has {lines} lines", path.display()));
        }
        let module = module_of(path);
        match module.first() {
            Some(top) if floor_of(top).is_none() => {
                faults.insert(format!("{top} stands on no floor"));
            }
            _ => {}
        }
        let file = syn::parse_file(text)
            .unwrap_or_else(|error| panic!("{} does not parse: {error}", path.display()));
        if module.is_empty() {
            faults.extend(order_of_the_map(&file));
        }
        house.read(module, &file);
    }
    faults.extend(house.faults());
    faults
}

/// `http/error.rs` is `["http", "error"]`, `lib.rs` is the root: `[]`.
fn module_of(path: &Path) -> Names {
    let mut names: Names =
        path.with_extension("").iter().map(|name| name.to_string_lossy().into_owned()).collect();
    if names.last().is_some_and(|name| name == "mod" || name == "lib") {
        names.pop();
    }
    names
}

fn floor_of(module: &str) -> Option<usize> {
    FLOORS.iter().position(|row| row.contains(&module))
}

/// `lib.rs` is a map: it declares lower floors first.
fn order_of_the_map(root: &File) -> Option<String> {
    let declared = root.items.iter().filter_map(|item| match item {
        Item::Mod(module) => Some(module.ident.to_string()),
        _ => None,
    });
    let floors: Vec<_> = declared.filter_map(|name| floor_of(&name)).collect();
    (!floors.is_sorted()).then(|| "lib.rs does not declare the modules in floor order".to_owned())
}

/// All that the sources say about modules and names.
#[derive(Default)]
struct House {
    /// Those of the files, and those that `lib.rs` declares inline for a folder.
    modules: BTreeSet<Names>,
    /// Those inside the text of a file, such as `tests`.
    inline: BTreeSet<Names>,
    /// What a `use` calls a path, by the module that holds the `use`; `*` for all of it.
    renames: BTreeMap<Names, Vec<(String, Names)>>,
    /// A module, and a path that is written in it.
    references: Vec<(Names, Names)>,
    /// The module that is being read.
    here: Names,
}

impl House {
    fn read(&mut self, module: Names, file: &File) {
        self.modules.insert(module.clone());
        self.here = module;
        self.visit_file(file);
    }

    /// A single word leads nowhere that its `use` has not led before.
    fn refer(&mut self, path: Names) {
        if path.len() > 1 {
            self.references.push((self.here.clone(), path));
        }
    }

    fn import(&mut self, tree: &UseTree, mut before: Names) {
        match tree {
            UseTree::Path(path) => {
                before.push(path.ident.to_string());
                self.import(&path.tree, before);
            }
            UseTree::Name(name) if name.ident == "self" => {
                let name = before.last().cloned().unwrap_or_default();
                self.imported(name, before);
            }
            UseTree::Name(name) => {
                before.push(name.ident.to_string());
                self.imported(name.ident.to_string(), before);
            }
            UseTree::Rename(rename) => {
                if rename.ident != "self" {
                    before.push(rename.ident.to_string());
                }
                self.imported(rename.rename.to_string(), before);
            }
            UseTree::Glob(_) => self.imported("*".to_owned(), before),
            UseTree::Group(group) => {
                for tree in &group.items {
                    self.import(tree, before.clone());
                }
            }
        }
    }

    fn imported(&mut self, name: String, path: Names) {
        self.references.push((self.here.clone(), path.clone()));
        self.renames.entry(self.here.clone()).or_default().push((name, path));
    }

    /// Each path in unparsed tokens: `a::b`, also `a::{b, c::d}`.
    fn scan(&mut self, mut cursor: Cursor, before: &Names) {
        let mut path = before.clone();
        while !cursor.eof() {
            if let Some((ident, rest)) = cursor.ident() {
                path.push(ident.to_string());
                cursor = rest;
            } else if let Some((inside, _, _, rest)) = cursor.any_group() {
                self.scan(inside, &path);
                path.clone_from(before);
                cursor = rest;
                continue;
            } else if let Some((_, rest)) = cursor.token_tree() {
                cursor = rest;
            }
            match colons(cursor) {
                Some(rest) => cursor = rest,
                None if path.len() > before.len() => {
                    self.refer(std::mem::replace(&mut path, before.clone()));
                }
                None => path.clone_from(before),
            }
        }
    }

    /// Where `path` leads when it is written in `module`: a path from the root, or a foreign one.
    fn resolve(&self, module: &[String], path: &[String], depth: usize) -> Option<Target> {
        let (first, rest) = path.split_first()?;
        let from = |base: &[String]| {
            let mut base = base.to_vec();
            let ups = rest.iter().take_while(|word| *word == "super").count();
            base.truncate(base.len().saturating_sub(ups));
            base.extend(rest.iter().skip(ups).cloned());
            Some(Target::Ours(base))
        };
        match first.as_str() {
            "crate" | "bindery" => return from(&[]),
            "self" => return from(module),
            "super" => return from(module.split_last().map_or(&[][..], |(_, parent)| parent)),
            _ => {}
        }
        let child = [module, std::slice::from_ref(first)].concat();
        if self.modules.contains(&child) || self.inline.contains(&child) {
            return from(&child);
        }
        self.renamed(module, first, rest, depth).or_else(|| Some(Target::Foreign(first.clone())))
    }

    /// As `resolve`, where `first` is what a `use` in `module` brought in.
    fn renamed(
        &self,
        module: &[String],
        first: &str,
        rest: &[String],
        depth: usize,
    ) -> Option<Target> {
        if depth > 8 {
            return None;
        }
        let brought = self.renames.get(module)?;
        if let Some((_, path)) = brought.iter().find(|(name, _)| name == first) {
            if path.len() == 1 && path.first().is_some_and(|only| only == first) {
                return None;
            }
            return self.resolve(module, &[path, rest].concat(), depth + 1);
        }
        brought.iter().filter(|(name, _)| name == "*").find_map(|(_, path)| {
            match self.resolve(module, path, depth + 1)? {
                Target::Ours(origin) => self.renamed(&origin, first, rest, depth + 1),
                Target::Foreign(_) => None,
            }
        })
    }

    fn faults(&self) -> BTreeSet<String> {
        let judged = self.references.iter().filter_map(|(module, path)| {
            match self.resolve(module, path, 0)? {
                Target::Ours(path) => self.judge(module, &path),
                Target::Foreign(name) => judge_foreign(module, &name),
            }
        });
        judged.collect()
    }

    /// What is wrong with naming `path` in `module`.
    fn judge(&self, module: &[String], path: &[String]) -> Option<String> {
        let from = self.file_of(module);
        let to = self.file_of(path);
        let name = |names: &[String]| names.join("::");
        let own = from.first()?;
        let Some(top) = to.first() else {
            // A path that ends at the root hides where it leads.
            return path.is_empty().then(|| format!("{} imports the root", name(&from)));
        };
        if own == top {
            let related = from.starts_with(&to) || to.starts_with(&from);
            let open = OPEN_FOLDERS.contains(&top.as_str());
            return (!related && !open && !stands_on(&from, &to))
                .then(|| format!("{} imports its sibling {}", name(&from), name(&to)));
        }
        (floor_of(top) >= floor_of(own)).then(|| format!("{} imports {}", name(&from), name(&to)))
    }

    /// The file that `path` leads into.
    fn file_of(&self, path: &[String]) -> Names {
        let mut path = path.to_vec();
        while !path.is_empty() && !self.modules.contains(&path) {
            path.pop();
        }
        path
    }
}

/// Whether the file `to` is one that the rest of its folder, `from` among it, stands on.
fn stands_on(from: &[String], to: &[String]) -> bool {
    let ([top, from, ..], [_, to, ..]) = (from, to) else { return false };
    let Some((_, shared)) = SHARED.iter().find(|(folder, _)| folder == top) else { return false };
    let place = |file: &String| shared.iter().position(|shared| shared == file);
    match (place(from), place(to)) {
        (None, Some(_)) => true,
        (Some(from), Some(to)) => to < from,
        (_, None) => false,
    }
}

enum Target {
    Ours(Names),
    Foreign(String),
}

fn judge_foreign(module: &[String], name: &str) -> Option<String> {
    let (_, inside) = BORDERS.iter().find(|(border, _)| *border == name)?;
    let module = module.join("::");
    let below = |border: &&str| {
        module.strip_prefix(*border).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
    };
    (!inside.iter().any(below)).then(|| format!("{module} names {name}"))
}

fn colons(cursor: Cursor) -> Option<Cursor> {
    let (first, rest) = cursor.punct()?;
    let (second, rest) = rest.punct()?;
    (first.as_char() == ':' && second.as_char() == ':').then_some(rest)
}

impl<'ast> Visit<'ast> for House {
    fn visit_item_mod(&mut self, item: &'ast ItemMod) {
        let outside = self.here.clone();
        self.here.push(item.ident.to_string());
        if outside.is_empty() {
            self.modules.insert(self.here.clone());
        } else if item.content.is_some() {
            self.inline.insert(self.here.clone());
        }
        visit::visit_item_mod(self, item);
        self.here = outside;
    }

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        self.import(&item.tree, Names::new());
    }

    fn visit_item_extern_crate(&mut self, item: &'ast syn::ItemExternCrate) {
        let name = item.ident.to_string();
        let called = item.rename.as_ref().map_or(name.clone(), |(_, called)| called.to_string());
        self.imported(called, vec![name]);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let names: Names = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        self.refer(names);
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, item: &'ast Macro) {
        visit::visit_macro(self, item);
        self.scan(TokenBuffer::new2(item.tokens.clone()).begin(), &Names::new());
    }

    fn visit_attribute(&mut self, attribute: &'ast Attribute) {
        visit::visit_attribute(self, attribute);
        if let Meta::List(list) = &attribute.meta {
            self.scan(TokenBuffer::new2(list.tokens.clone()).begin(), &Names::new());
        }
    }
}
