//! What neighbours sent to the real program, and the operator who looks at it.

use bindery::mutual_tls::Credentials;
use serde_json::json;

use crate::{
    authority::Ca,
    port::free_port,
    process::{Bindery, Home, until},
};

/// A server that hears the neighbour `b.test`, and a client that has its certificate.
struct World {
    home: Home,
    server: Bindery,
    url: String,
    neighbour: reqwest::Client,
    _ca: Ca,
}

impl World {
    async fn start() -> Self {
        let ca = Ca::new();
        let port = free_port();
        let home = Home::with(&format!(
            "[[peers.replicate]]\nname = 'b.test'\n\
             keys = ['ed25519:0 XGX0JRS2Af3be3knz2fBiRbApjm2Dh61gXDJA8kcJNI']\n\
             [replication]\nlisten = ['127.0.0.1:{port}']\ncertificate = 'a.crt'\n\
             key = 'a.key'\nca_file = '{}'\n",
            ca.file().display()
        ));
        for (file, name) in [("a", "a.test"), ("b", "b.test")] {
            let (certificate, key) = ca.pem_of(&[name]);
            std::fs::write(home.path().join(format!("{file}.crt")), certificate).unwrap();
            std::fs::write(home.path().join(format!("{file}.key")), key).unwrap();
        }
        let file = |name: &str| home.path().join(name);
        let credentials = Credentials::read(&file("b.crt"), &file("b.key"), ca.file()).unwrap();
        let _ = rustls::crypto::ring::default_provider().install_default();
        let tls = credentials.client().unwrap();
        let neighbour = reqwest::Client::builder().tls_backend_preconfigured(tls).no_proxy();
        let neighbour = neighbour.build().unwrap();
        let server = home.serve().await;
        let url = format!("https://127.0.0.1:{port}/_matrix/identity/replicate/v1/push");
        Self { home, server, url, neighbour, _ca: ca }
    }
}

#[tokio::test]
async fn what_cant_be_believed_is_listed_shown_and_dropped_while_the_server_runs() {
    let mut world = World::start().await;
    let push = json!({ "sgAssocs": { "7": { "mxid": "@bob:hs.example\u{1b}[2J" }, "8": 1 } });
    let sent = world.neighbour.post(&world.url).json(&push).send().await.unwrap();
    assert_eq!(
        (sent.status().as_u16(), sent.text().await.unwrap().as_str()),
        (200, r#"{"success":true}"#)
    );
    let list = world.home.run(&["peers", "quarantine", "list"]).ok();
    let lines: Vec<Vec<&str>> = list.lines().map(|line| line.split('\t').collect()).collect();
    assert_eq!(lines.len(), 2, "{list}");
    let seventh = lines.iter().find(|line| line[3] == "7").unwrap();
    assert_eq!(seventh[2], "b.test");
    assert!(seventh[1].ends_with(" GMT") && seventh[4].contains("signature"), "{list}");
    let shown = world.home.run(&["peers", "quarantine", "show", seventh[0]]).ok();
    assert!(shown.contains("@bob:hs.example") && !shown.contains('\u{1b}'), "{shown}");
    let log = until("the warning", async || {
        Some(world.server.log()).filter(|log| log.contains("peers quarantine list"))
    })
    .await;
    assert!(!log.contains("@bob"), "{log}");
    let dropped = world.home.run(&["peers", "quarantine", "drop", seventh[0]]).ok();
    assert_eq!(dropped, "Forgotten: 1.\n");
    for command in ["show", "drop"] {
        let refused = world.home.run(&["peers", "quarantine", command, seventh[0]]).failed(1);
        assert!(refused.contains("nothing with that number"), "{refused}");
    }
    assert!(world.home.run(&["peers", "quarantine", "drop"]).failed(2).contains("--all"));
    assert_eq!(world.home.run(&["peers", "quarantine", "drop", "--all"]).ok(), "Forgotten: 1.\n");
    assert_eq!(world.home.run(&["peers", "quarantine", "list"]).ok(), "");
    world.server.signal("TERM");
    assert!(world.server.ended().await.success());
}

#[tokio::test]
async fn a_certificate_without_a_name_is_told_at_the_start() {
    let ca = Ca::new();
    let home = Home::with(&format!(
        "[replication]\nlisten = ['127.0.0.1:0']\ncertificate = 'a.crt'\nkey = 'a.key'\n\
         ca_file = '{}'\n",
        ca.file().display()
    ));
    let (certificate, key) = ca.pem_of(&[]);
    std::fs::write(home.path().join("a.crt"), certificate).unwrap();
    std::fs::write(home.path().join("a.key"), key).unwrap();
    let said = home.run(&["serve"]).failed(1);
    assert!(said.contains("has no common name"), "{said}");
}
