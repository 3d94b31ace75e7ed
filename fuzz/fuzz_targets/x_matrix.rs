//! Any `Authorization` header of a homeserver is read without a panic, and what is read verifies or
//! doesn't without one.
#![no_main]

use bindery::matrix::{
    json::Object,
    signing::verifies,
    x_matrix::{Request, XMatrix},
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|header: &str| {
    let Some(proof) = XMatrix::parse(header) else { return };
    let request = Request { method: "POST", uri: "/", content: &Object::new() };
    let signed = proof.signed(&request, "destination", "id.example.org");
    assert!(!verifies(&signed, &proof.origin, &proof.key, &[0; 32]));
});
