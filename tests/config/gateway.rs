//! What stands in front of a homeserver.

use bindery::config::Config;
use serde_json::json;

use super::faults;

#[test]
fn a_homeserver_has_a_url_and_a_name() {
    let config = Config::from_toml(
        "gateway.homeserver = 'http://127.0.0.1:8008/'\ngateway.server_name = 'example.org'",
    )
    .unwrap();
    let gateway = config.gateway.unwrap();
    assert_eq!(gateway.homeserver.as_str(), "http://127.0.0.1:8008/");
    assert!(!gateway.login_by_address);
    assert!(Config::from_toml("gateway.refusal_time = '2s'").unwrap().gateway.is_none());
    insta::assert_snapshot!(faults("gateway.homeserver = 'https://hs.example'"), @"
    config:1: gateway.server_name: missing; expected a host name or an IP address, with or without :port
        write for example: server_name = \"id.example.org\"
    ");
    insta::assert_snapshot!(faults(
        "[gateway]\nserver_name = 'example.org'\nhomeserver = 'https://hs.example/_matrix'\n\
         timeout = '1h'\nrefusal_time = '11s'",
    ), @"
    config:3: gateway.homeserver: has a path, but requests keep the paths that they come with
        write it without: https://matrix-internal.example.org
    config:4: gateway.timeout: more than 600 seconds is too long
        write for example: timeout = \"120s\"
    config:5: gateway.refusal_time: more than 10 seconds is too long
        write for example: refusal_time = \"1s\"
    ");
}

#[test]
fn the_homeserver_is_another_server() {
    insta::assert_snapshot!(faults(
        "server.name = 'id.example.org'\n[gateway]\nserver_name = 'example.org'\n\
         homeserver = 'https://id.example.org:443'",
    ), @"
    config:4: gateway.homeserver: is this server itself (server.base_url)
        name where the homeserver listens, not what stands in front of it
    ");
}

#[test]
fn searches_take_a_homeserver() {
    insta::assert_snapshot!(faults("user_directory.enabled = true"), @"
    config:1: user_directory.enabled: the homeserver is asked first, but gateway.homeserver names none
        write [gateway] with homeserver and server_name, or leave it off
    ");
}

#[test]
fn well_known_documents_hold_what_is_added_to_them() {
    let text = "[well_known]\nhomeserver_base_url = 'https://matrix.example.org/'\n\
                server = 'matrix.example.org:443'\n\
                extra_client = { 'org.example' = [1, { a = true }] }\n";
    assert!(Config::from_toml(text).unwrap().well_known.is_none());
    let well_known = Config::from_toml(&format!("{text}enabled = true")).unwrap();
    let well_known = well_known.well_known.unwrap();
    assert_eq!(well_known.homeserver_base_url, "https://matrix.example.org");
    assert_eq!(well_known.extra_client["org.example"], json!([1, { "a": true }]));
}

#[test]
fn well_known_documents_are_held_against_the_specification() {
    insta::assert_snapshot!(faults(
        "[well_known]\nenabled = true\nserver = 'https://matrix.example.org'\n\
         extra_client = { 'm.homeserver' = {} }\nextra_server = 3",
    ), @"
    config:1: well_known.homeserver_base_url: missing; expected an http or https URL without user name, query and fragment
        write for example: homeserver_base_url = \"https://id.example.org\"
    config:3: well_known.server: expected a host name or an IP address, with or without :port, found \"https://matrix.example.org\"
        write for example: server = \"id.example.org\"
    config:4: well_known.extra_client: has m.homeserver, which is said already
        leave it out
    config:5: well_known.extra_server: expected a table
        write for example: extra_server = { \"org.example.key\" = true }
    ");
    insta::assert_snapshot!(faults(
        "[well_known]\nenabled = true\nhomeserver_base_url = 'https://matrix.example.org'\n\
         extra_server = { a = 1 }",
    ), @"
    config:4: well_known.server: missing, but extra_server is given, which is said along with it
        write for example: server = \"matrix.example.org:443\"
    ");
    insta::assert_snapshot!(faults(
        "[well_known]\nenabled = true\nhomeserver_base_url = 'http://matrix.example.org'",
    ), @"
    config:3: well_known.homeserver_base_url: browsers let web clients use https only
        write https://
    ");
}
