//! What the papers of the project point to exists.
#![expect(clippy::unwrap_used, reason = "a test may fail")]

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Paths in backticks that begin so are files of the project.
const FOLDERS: &[&str] = &["src/", "tests/", "docs/", "benches/", "migrations/", "templates/"];

#[test]
fn the_papers_name_only_files_that_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut missing = Vec::new();
    let papers = papers(root);
    assert!(papers.len() > 3, "too few papers were found: {papers:?}");
    for paper in papers {
        let text = fs::read_to_string(&paper).unwrap();
        let beside = paper.parent().unwrap();
        let links = links(&text).map(|link| (link, beside));
        let files = named_files(&text).map(|file| (file, root));
        for (name, from) in links.chain(files) {
            if !from.join(name).exists() {
                missing.push(format!("{} names {name}", paper.display()));
            }
        }
    }
    assert!(missing.is_empty(), "{missing:#?}");
}

#[test]
fn links_and_files_are_found_in_a_text() {
    let text = "See [a](docs/a.md#part), [b](https://example.org), `src/c.rs` and `cargo test`.";
    assert_eq!(links(text).collect::<Vec<_>>(), ["docs/a.md"]);
    assert_eq!(named_files(text).collect::<Vec<_>>(), ["src/c.rs"]);
}

fn papers(root: &Path) -> Vec<PathBuf> {
    let folders = [root.to_owned(), root.join("docs"), root.join("tests/contract")];
    let entries = folders.iter().flat_map(|folder| fs::read_dir(folder).unwrap());
    let files = entries.map(|entry| entry.unwrap().path());
    files.filter(|file| file.extension().is_some_and(|extension| extension == "md")).collect()
}

/// Where links lead within the project, without the part of the page.
fn links(text: &str) -> impl Iterator<Item = &str> {
    let targets = text.split("](").skip(1).filter_map(|after| after.split([')', '#']).next());
    targets.filter(|target| !target.is_empty() && !target.contains("://"))
}

/// The words in backticks that are paths of the project, up to a placeholder, option or argument.
fn named_files(text: &str) -> impl Iterator<Item = &str> {
    let words = text.split('`').skip(1).step_by(2);
    let paths = words.filter(|word| FOLDERS.iter().any(|folder| word.starts_with(folder)));
    paths.filter_map(|path| path.split([' ', '<', '*', '{']).next())
}
