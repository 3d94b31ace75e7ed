//! Any text is a phone number or isn't; one that is has one canonical form, wherever it is dialled.
#![no_main]

use bindery::matrix::phone::Phone;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|typed: (&str, &str)| {
    let (country, number) = typed;
    for phone in [Phone::parse(country, number), Phone::of_digits(number)].into_iter().flatten() {
        for again in [Phone::of_digits(phone.msisdn()), Phone::of_digits(&phone.international())] {
            assert_eq!(again.as_ref().map(Phone::msisdn), Ok(phone.msisdn()));
        }
    }
});
