//! The documentation names every template with its variables.

use std::fs;

use bindery::messages::templates;

/// The table as it has to be.
fn table() -> String {
    let mut rows = vec!["| template | variable | what it holds |".to_owned()];
    rows.push("| --- | --- | --- |".to_owned());
    for template in templates() {
        for (index, variable) in template.variables.iter().enumerate() {
            let name = if index == 0 { format!("`{}`", template.name) } else { String::new() };
            let html = if variable.is_html { " (HTML in `.html`)" } else { "" };
            rows.push(format!("| {name} | `{}` | {}{html} |", variable.name, variable.about));
        }
        if template.variables.is_empty() {
            rows.push(format!("| `{}` | | it has none |", template.name));
        }
    }
    rows.join("\n") + "\n"
}

#[test]
fn the_documentation_has_every_template_with_its_variables() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/messages.md");
    let text = fs::read_to_string(file).unwrap();
    let (table, marks) = (table(), ("<!-- templates -->\n", "<!-- end of templates -->"));
    let (before, rest) = text.split_once(marks.0).unwrap();
    let (written, after) = rest.split_once(marks.1).unwrap();
    if std::env::var_os("BINDERY_WRITE_DOCS").is_some() {
        fs::write(file, format!("{before}{}{table}{}{after}", marks.0, marks.1)).unwrap();
    } else {
        assert_eq!(
            written, table,
            "BINDERY_WRITE_DOCS=1 cargo test --test messages writes it anew"
        );
    }
}
