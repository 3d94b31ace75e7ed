//! Any text is an e-mail address or isn't; one that is has one canonical form.
#![no_main]

use bindery::matrix::threepid::ThreePid;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(canonical) = ThreePid::email(text) {
        let again = ThreePid::email(canonical.address());
        assert_eq!(again.as_ref().map(ThreePid::address), Ok(canonical.address()));
    }
});
