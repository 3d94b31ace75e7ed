//! The names of homeservers, each once.

use std::{collections::HashMap, sync::Arc};

/// Names by their numbers, and numbers by their names. What was named once stays.
#[derive(Debug, Default)]
pub(super) struct Servers {
    names: Vec<Arc<str>>,
    numbers: HashMap<Arc<str>, u32>,
    text_bytes: usize,
}

impl Servers {
    /// The number of a name; `None` when there are too many.
    pub(super) fn number(&mut self, name: &str) -> Option<u32> {
        if let Some(number) = self.numbers.get(name) {
            return Some(*number);
        }
        let number = u32::try_from(self.names.len()).ok()?;
        let name: Arc<str> = name.into();
        self.text_bytes += name.len();
        self.names.push(name.clone());
        self.numbers.insert(name, number);
        Some(number)
    }

    /// The name of a number.
    pub(super) fn name(&self, number: u32) -> &str {
        usize::try_from(number).ok().and_then(|at| self.names.get(at)).map_or("", |name| name)
    }

    /// How much memory it takes, in bytes.
    pub(super) fn bytes(&self) -> usize {
        let pointer = size_of::<Arc<str>>();
        let counts = 2 * size_of::<usize>();
        let in_map = self.numbers.capacity() * (pointer + size_of::<u32>() + 1) * 8 / 7;
        self.text_bytes + self.names.len() * counts + self.names.capacity() * pointer + in_map
    }
}
