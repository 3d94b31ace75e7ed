//! What is found out when the server starts, rather than by the first person who waits for a code.

use std::process::Command;

use crate::{Door, NUMBER, gateway::Gateway};

fn fault(lines: &str) -> String {
    let toml = format!("[sms]\nprovider = 'http'\n[sms.http]\n{lines}\n");
    Door::try_with(&toml).err().unwrap_or_else(|| panic!("no fault in {lines}")).to_string()
}

#[test]
fn a_template_with_a_fault_is_named_by_its_key() {
    for (lines, key) in [
        ("url = 'https://a.example/{{ number }}'", "sms.http.url"),
        ("url = 'https://a.example/{{ to | shout }}'", "sms.http.url"),
        ("url = 'https://a.example/'\nheaders = { X-To = '{{ to' }", "sms.http.headers.X-To"),
        (
            "url = 'https://a.example/'\njson = { a = ['', { b = '{% if %}' }] }",
            "sms.http.json.a[1].b",
        ),
        ("url = 'https://a.example/'\nform = { a = '{{ a }}' }", "sms.http.form.a"),
        ("url = 'https://a.example/'\nbody = '{{ a }}'", "sms.http.body"),
        (
            "url = 'https://a.example/'\nbody = ''\ncontent_type = \"a\\nb\"",
            "sms.http.content_type",
        ),
        ("url = 'https://a.example/'\nheaders = { 'X To' = '' }", "sms.http.headers.X To"),
        (
            "url = 'https://a.example/'\nheaders = { X-Text = '{{ text }}' }",
            "sms.http.headers.X-Text",
        ),
        (
            "url = 'https://a.example/'\nbody = '{% for a in range(9999) %}{% for b in range(9999) %}.\
             {% endfor %}{% endfor %}'",
            "sms.http.body",
        ),
    ] {
        let fault = fault(lines);
        assert!(fault.starts_with(&format!("`{key}` can't be used: ")), "{lines}: {fault}");
    }
}

#[test]
fn the_host_does_not_depend_on_who_is_written_to() {
    for host in ["{{ address }}.example.org", "a.{{ locale | lower }}.example.org"] {
        let fault = fault(&format!("url = 'https://{host}/'"));
        assert!(fault.starts_with("`sms.http.url` can't be used: the host"), "{host}: {fault}");
    }
    Door::with(
        "[sms]\nprovider = 'http'\n[sms.http]\nurl = 'https://{{ secret }}.example/'\nsecret = 'a'",
    );
}

#[test]
fn the_gateways_of_the_papers_are_sound() {
    let paper = include_str!("../../docs/phone-numbers.md");
    let blocks = paper.split("```toml").skip(1).filter_map(|block| block.split("```").next());
    let gateways: Vec<_> = blocks.filter(|block| block.contains("[sms.http]")).collect();
    assert!(gateways.len() > 1, "too few were found: {gateways:?}");
    for gateway in gateways {
        let toml = gateway.replace("secret_file = \"/etc/bindery/", "secret = \"");
        Door::with(&toml);
    }
}

#[test]
fn a_ca_file_without_a_certificate_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let ca_file = directory.path().join("empty.pem");
    std::fs::write(&ca_file, "no certificate").unwrap();
    let fault = fault(&format!("url = 'https://a.example/'\nca_file = '{}'", ca_file.display()));
    assert!(fault.starts_with("`sms.http.ca_file` can't be used: "), "{fault}");
}

/// Run by the next test in a process of its own, in which there are no root certificates.
#[tokio::test]
async fn twilio_without_root_certificates() {
    if std::env::var_os("BINDERY_TEST_NO_ROOTS").is_none() {
        return;
    }
    let gateway = Gateway::start().await;
    let fault = Door::try_with(&gateway.twilio_toml()).err().unwrap().to_string();
    assert!(fault.starts_with("`sms.twilio` can't be used: install"), "{fault}");
    let http = format!("[sms]\nprovider = 'http'\n[sms.http]\nurl = '{}/'", gateway.url());
    Door::with(&http).text(NUMBER).await.unwrap();
}

#[test]
fn a_machine_without_root_certificates_is_told_so() {
    let empty = tempfile::tempdir().unwrap();
    let file = empty.path().join("none.pem");
    std::fs::write(&file, "").unwrap();
    // What the two ways to look for them are told.
    for (certificates, directory) in [(file.as_path(), true), (file.as_path(), false)] {
        let mut test = Command::new(std::env::current_exe().unwrap());
        test.args(["--exact", "setup::twilio_without_root_certificates", "--nocapture"]);
        test.env("BINDERY_TEST_NO_ROOTS", "1").env("SSL_CERT_FILE", certificates);
        if directory {
            test.env("SSL_CERT_DIR", empty.path());
        }
        let outcome = test.output().unwrap();
        assert!(outcome.status.success(), "{}", String::from_utf8_lossy(&outcome.stdout));
    }
}
