//! Any body of a login is read or isn't; one that is becomes a login of the user whom it is given,
//! which names nobody else and has lost nothing of the rest.
#![no_main]

use bindery::matrix::login::Login;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

const USER: &str = "@alice:hs.example";

fuzz_target!(|body: &[u8]| {
    let Ok(Some(login)) = Login::read(body) else { return };
    let text = login.with_user(USER);
    assert!(matches!(Login::read(&text), Ok(None)));
    // Numbers that no float holds are texts that are sent on all the same.
    let (Ok(Value::Object(mut was)), Ok(Value::Object(mut is))) =
        (serde_json::from_slice(body), serde_json::from_slice(&text))
    else {
        return;
    };
    assert_eq!(is.remove("identifier"), Some(serde_json::json!({ "type": "m.id.user", "user": USER })));
    for name in ["identifier", "user", "medium", "address"] {
        was.remove(name);
    }
    assert_eq!(was, is);
});
