//! Renders the templates of an operator, beside the built-in ones that they stand on.

use std::{collections::BTreeMap, error::Error};

use minijinja::{AutoEscape, Environment, UndefinedBehavior, Value};

use super::{fault::Fault, files::Source, variables};

/// In steps: far more than a message takes, and soon over where a template never ends.
const FUEL: u64 = 200_000;

/// Before the name of a built-in template, for overrides that extend what they override.
pub(super) const BUILT_IN: &str = "builtin/";

/// The templates of one language and brand.
#[derive(Debug)]
pub(super) struct Engine {
    environment: Environment<'static>,
    /// The file of each template that is overridden.
    overrides: BTreeMap<&'static str, Source>,
}

impl Engine {
    /// The built-in templates, with these in place of theirs.
    pub(super) fn new(overrides: BTreeMap<&'static str, Source>) -> Result<Self, Vec<Fault>> {
        let mut engine = Self { environment: empty(), overrides };
        let mut faults = vec![];
        for template in variables::templates() {
            let name = template.name;
            let file = engine.overrides.get(name);
            let source = file.map_or(template.source, |source| &source.text).to_owned();
            let built_in = format!("{BUILT_IN}{name}");
            let added = engine
                .environment
                .add_template_owned(built_in, template.source)
                .and_then(|()| engine.environment.add_template_owned(name, source));
            if let Err(error) = added {
                faults.push(engine.fault(name, &error));
            }
        }
        if faults.is_empty() { Ok(engine) } else { Err(faults) }
    }

    /// Where the template comes from, if it isn't built in.
    pub(super) fn source(&self, name: &str) -> Option<&Source> {
        self.overrides.get(name)
    }

    /// # Errors
    /// Says in which file and line it failed.
    pub(super) fn render(&self, name: &str, values: Value) -> Result<String, Fault> {
        let template = self.environment.get_template(name);
        let rendered = template.and_then(|template| template.render(values));
        rendered.map_err(|error| self.fault(name, &error))
    }

    fn fault(&self, name: &str, error: &minijinja::Error) -> Fault {
        let error = innermost(error);
        let name = error.name().unwrap_or(name);
        let message = match error.detail() {
            Some(detail) => format!("{}: {detail}", error.kind()),
            None => error.kind().to_string(),
        };
        let place = match self.overrides.get(name) {
            Some(source) => source.path.clone(),
            None => format!("{BUILT_IN}{}", name.trim_start_matches(BUILT_IN)),
        };
        Fault::at_line(&place, error.line().unwrap_or(0), message)
    }
}

/// An error in a template that another one includes or extends is the cause of an error there.
fn innermost(error: &minijinja::Error) -> &minijinja::Error {
    let (mut innermost, mut next) = (error, error.source());
    while let Some(cause) = next {
        if let Some(cause) = cause.downcast_ref::<minijinja::Error>()
            && cause.line().is_some()
        {
            innermost = cause;
        }
        next = cause.source();
    }
    innermost
}

/// Loads nothing by itself: an override can reach templates, and no other files.
fn empty() -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_fuel(Some(FUEL));
    environment.set_auto_escape_callback(|name| match name.rsplit_once('.') {
        Some((_, "html")) => AutoEscape::Html,
        _ => AutoEscape::None,
    });
    environment
}
