//! What is logged, kept for a test to read.

use std::{
    cell::RefCell,
    io::{self, Write},
    sync::Once,
};

use tracing::Level;

thread_local! {
    /// A test and all its tasks run on one thread, so what that thread logs is the test's own.
    static TEXT: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Starts to record everything that this thread logs, at any level.
pub(crate) fn record() {
    // For the whole process: a subscriber of one thread alone can be missed by what another
    // thread logs first.
    static START: Once = Once::new();
    START.call_once(|| {
        let subscriber = tracing_subscriber::fmt()
            .with_ansi(false)
            .with_max_level(Level::TRACE)
            .with_writer(|| Writer)
            .finish();
        tracing::subscriber::set_global_default(subscriber).unwrap();
    });
}

/// What this thread logged so far.
pub(crate) fn text() -> String {
    TEXT.with_borrow(|text| String::from_utf8(text.clone()).unwrap())
}

struct Writer;

impl Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        TEXT.with_borrow_mut(|text| text.extend_from_slice(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
