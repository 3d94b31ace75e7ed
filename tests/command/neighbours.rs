//! Three servers that replicate, as operators run them: real programs, one of which starts late and
//! one of which is killed.

use serde_json::json;

use crate::{
    authority::Ca,
    port::free_port,
    process::{Home, Person, addresses, until},
};

/// The key of the specification's test vectors, which all three sign with.
const KEY: &str = "ed25519 0 YJDBA9Xnr2sVqXD9Vj7XVUnmFZcZrlw8Md7kMW+3XA1\n";
const PUBLIC_KEY: &str = "XGX0JRS2Af3be3knz2fBiRbApjm2Dh61gXDJA8kcJNI";

const NAMES: [&str; 3] = ["a.test", "b.test", "c.test"];

/// The home of each, who is a neighbour of the others.
fn homes(ca: &Ca) -> [Home; 3] {
    let ports = NAMES.map(|_| free_port());
    let home = |own: usize| {
        let replication = format!(
            "signing.key_file = 'signing.key'\n[replication]\nlisten = ['127.0.0.1:{}']\n\
             certificate = 'own.crt'\nkey = 'own.key'\nca_file = '{}'\n",
            ports[own],
            ca.file().display()
        );
        let neighbour = |(name, port): (&str, u16)| {
            format!(
                "[[peers.replicate]]\nname = '{name}'\nurl = 'https://127.0.0.1:{port}'\n\
                 keys = ['ed25519:0 {PUBLIC_KEY}']\n"
            )
        };
        let others = NAMES.into_iter().zip(ports).filter(|(name, _)| *name != NAMES[own]);
        let toml: String = std::iter::once(replication).chain(others.map(neighbour)).collect();
        let home = Home::with(&toml);
        let (certificate, key) = ca.pem_of(&[NAMES[own]]);
        let files = [("signing.key", KEY), ("own.crt", &certificate), ("own.key", &key)];
        for (file, text) in files {
            std::fs::write(home.path().join(file), text).unwrap();
        }
        home
    };
    [home(0), home(1), home(2)]
}

/// Waits until `person` finds so many of `emails`.
async fn finds(person: &Person, emails: &[String], count: usize) {
    let what = format!("{count} addresses at {}", person.base);
    until(&what, async || (person.find(emails).await.len() == count).then_some(())).await;
}

#[tokio::test]
async fn three_servers_know_the_same_through_a_late_start_and_a_power_failure() {
    let ca = Ca::new();
    let [a, b, c] = homes(&ca);
    let (mut at_a, at_c) = (a.serve().await, c.serve().await);
    let (you, you_at_c) = (Person::of(&a, &at_a), Person::of(&c, &at_c));
    let emails = addresses(20);
    let sessions = you.validated(&a, &emails).await;
    for session in &sessions {
        you.bind(session).await.ok();
    }
    finds(&you_at_c, &emails, 20).await;
    at_a.kill().await;
    let at_b = b.serve().await;
    let you_at_b = Person::of(&b, &at_b);
    assert_eq!(you_at_b.find(&emails).await.len(), 0);
    let at_a = a.serve().await;
    let you = you.at(&at_a);
    finds(&you_at_b, &emails, 20).await;
    // And the other way round.
    let of_b = vec!["late@example.org".to_owned()];
    let session = you_at_b.validated(&b, &of_b).await;
    you_at_b.bind(&session[0]).await.ok();
    for person in [&you, &you_at_c] {
        finds(person, &of_b, 1).await;
    }
    let mut body = sessions[0].clone();
    body["threepid"] = json!({ "medium": "email", "address": emails[0] });
    you.post("/3pid/unbind", &body).await.ok();
    for person in [&you_at_b, &you_at_c] {
        finds(person, &emails[..1], 0).await;
        finds(person, &emails, 19).await;
    }
}
