//! Nodes over one database, of which one is killed in the middle of something: the others end it.

use std::time::{Duration, Instant};

use diesel::{Connection, RunQueryDsl, SqliteConnection, connection::SimpleConnection};
use futures_util::future::join;
use serde_json::{Value, json};

use crate::{
    authority::Ca,
    database::TestDatabase,
    homeserver::{FakeHomeserver, Reply},
    process::{Bindery, Home, MXID, Person, SECRET, addresses, client, link, until},
    smtp::{Behaviour, SmtpServer, Trouble},
};

const ONBIND: &str = "/_matrix/federation/v1/3pid/onbind";
const PUSH: &str = "/_matrix/identity/replicate/v1/push";

/// How long a homeserver may take, and how much longer nobody else tells it.
const TIMEOUT: Duration = Duration::from_secs(10);
const MARGIN: Duration = Duration::from_secs(5);

/// The key of the specification's test vectors.
const KEY: &str = "XGX0JRS2Af3be3knz2fBiRbApjm2Dh61gXDJA8kcJNI";

/// Those who are left, which start while what the one before them had claimed is its own.
async fn others(home: &Home) -> [Bindery; 2] {
    join(home.serve(), home.serve()).await.into()
}

/// Binds at `node` what was validated there as `mxid`.
async fn bind(home: &Home, node: &Bindery, mxid: &str, body: &Value) {
    let token = home.run(&["account", "token", mxid]).ok().trim_end().to_owned();
    let person = Person { base: node.base.clone(), token, client: client() };
    let mut body = body.clone();
    body["mxid"] = json!(mxid);
    assert_eq!(person.bind(&body).await.ok()["mxid"], mxid);
}

#[tokio::test]
async fn an_invitation_that_a_killed_node_was_telling_a_homeserver_is_told_once_by_another() {
    let ca = Ca::new();
    let homeserver = FakeHomeserver::start(&ca, &["127.0.0.1"]).await;
    homeserver.set_reply(ONBIND, Reply::Silence);
    let home = Home::with(&format!(
        "[federation]\nallow_networks = ['127.0.0.0/8']\ntimeout = '{}s'\nca_file = '{}'",
        TIMEOUT.as_secs(),
        ca.file().display()
    ));
    let mut node = home.serve().await;
    let you = Person::of(&home, &node);
    let body = you.validated(&home, &addresses(1)).await.remove(0);
    let invite = json!({ "medium": "email", "address": "you+0@example.org",
        "room_id": "!room:example.org", "sender": MXID });
    let token = you.post("/store-invite", &invite).await.ok()["token"].clone();
    let mxid = format!("@you:{}", homeserver.name("127.0.0.1"));
    bind(&home, &node, &mxid, &body).await;
    let told = async |count: usize| {
        until("that the homeserver is told", async || {
            (homeserver.requests().len() == count).then(Instant::now)
        })
        .await
    };
    let first = told(1).await;
    node.kill().await;
    homeserver.set_reply(ONBIND, Reply::new(200, "{}"));

    let _others = others(&home).await;
    let second = told(2).await;
    let waited = second - first;
    assert!(waited > MARGIN, "while a node may be telling it, another one told it: {waited:?}");
    // What was told is not told again either when nobody holds the claim any more.
    tokio::time::sleep(TIMEOUT + MARGIN * 2).await;
    let requests = homeserver.requests();
    assert_eq!(requests.len(), 2, "{requests:?}");
    for request in requests {
        let body: Value = serde_json::from_slice(&request.body).unwrap();
        let invite = &body["invites"][0]["signed"];
        assert_eq!((&invite["token"], &invite["mxid"]), (&token, &json!(mxid)));
    }
}

/// Whom `emails` are found for with whatever pepper is in use: asked again, as clients do, if that
/// changes in between.
async fn found(person: &Person, emails: &[String]) -> (String, Vec<String>) {
    until("a lookup with the pepper in use", async || person.try_find(emails).await).await
}

/// Whether a condition holds, in SQL.
fn is_true(database: &TestDatabase, condition: &str) -> bool {
    #[derive(diesel::QueryableByName)]
    struct Condition {
        #[diesel(sql_type = diesel::sql_types::Bool)]
        holds: bool,
    }
    let query = diesel::sql_query(format!("SELECT {condition} AS holds"));
    #[cfg(feature = "postgres")]
    if database.is_postgres() {
        let mut connection = diesel::PgConnection::establish(&database.url).unwrap();
        return query.get_result::<Condition>(&mut connection).unwrap().holds;
    }
    let file = database.url.strip_prefix("sqlite:").unwrap();
    let mut connection = SqliteConnection::establish(file).unwrap();
    connection.batch_execute("PRAGMA busy_timeout = 10000").unwrap();
    query.get_result::<Condition>(&mut connection).unwrap().holds
}

#[tokio::test]
async fn a_pepper_that_a_killed_node_was_replacing_is_replaced_by_another_while_all_is_found() {
    let home = Home::new();
    let node = home.serve().await;
    let you = Person::of(&home, &node);
    let emails = addresses(10);
    for body in you.validated(&home, &emails).await {
        you.bind(&body).await.ok();
    }
    // So many that it takes a while.
    home.database.execute(
        "INSERT INTO associations (medium, address, mxid, ts, not_before, not_after)
         WITH RECURSIVE numbers (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM numbers WHERE n < 9999)
         SELECT 'email', 'a' || n || '@example.org', '@a:example.org', 0, 0, 9223372036854775807
         FROM numbers; UPDATE peppers SET created_at = 0",
    );
    let (old, _) = found(&you, &emails).await;
    // It begins with its start, and the other one has begun to wait for its next round.
    let mut dying = home.serve().await;
    let half_way =
        "EXISTS (SELECT 1 FROM peppers WHERE state = 1 AND progress LIKE '%@example.org%')";
    until("a pepper that is half made", async || is_true(&home.database, half_way).then_some(()))
        .await;
    dying.kill().await;
    assert!(is_true(&home.database, half_way), "the kill came too late");

    until("another pepper", async || {
        let (pepper, of_you) = found(&you, &emails).await;
        assert_eq!(of_you, emails);
        (pepper != old).then_some(())
    })
    .await;
    until("the end of the former hashes", async || {
        let (_, of_you) = found(&you, &emails).await;
        assert_eq!(of_you, emails);
        is_true(&home.database, "(SELECT count(*) FROM peppers) = 1").then_some(())
    })
    .await;
}

/// What a neighbour was told by each request, in the order of the text: numbers and addresses.
fn pushed(neighbour: &FakeHomeserver) -> Vec<Vec<(usize, String)>> {
    let entries = |body: &[u8]| {
        let text = std::str::from_utf8(body).unwrap();
        let body: Value = serde_json::from_str(text).unwrap();
        let all = body["sgAssocs"].as_object().unwrap().iter();
        let mut all: Vec<_> = all
            .map(|(id, entry)| {
                let place = text.find(&format!("\"{id}\":{{")).unwrap();
                let address = entry["address"].as_str().unwrap().to_owned();
                (place, (id.parse().unwrap(), address))
            })
            .collect();
        all.sort();
        all.into_iter().map(|(_, entry)| entry).collect()
    };
    neighbour.requests().iter().map(|request| entries(&request.body)).collect()
}

#[tokio::test]
async fn binds_that_a_killed_node_was_telling_a_neighbour_are_told_by_another_all_in_order() {
    let ca = Ca::new();
    let neighbour = FakeHomeserver::start(&ca, &["127.0.0.1"]).await;
    neighbour.set_reply(PUSH, Reply::Silence);
    let home = Home::with(&format!(
        "[replication]\ncertificate = 'own.crt'\nkey = 'own.key'\nca_file = '{}'\n\
         [[peers.replicate]]\nname = 'b.test'\nurl = 'https://{}'\nkeys = ['ed25519:0 {KEY}']\n",
        ca.file().display(),
        neighbour.address()
    ));
    let (certificate, key) = ca.pem_of(&["a.test"]);
    std::fs::write(home.path().join("own.crt"), certificate).unwrap();
    std::fs::write(home.path().join("own.key"), key).unwrap();
    let mut node = home.serve().await;
    let you = Person::of(&home, &node);
    let emails = addresses(7);
    let bodies = you.validated(&home, &emails).await;
    let numbered: Vec<(usize, String)> = (1..).zip(emails.iter().cloned()).collect();
    let told = async |count: usize| {
        until("that the neighbour is told", async || {
            let pushed = pushed(&neighbour);
            (pushed.iter().flatten().count() >= count).then_some(pushed)
        })
        .await
    };
    you.bind(&bodies[0]).await.ok();
    assert_eq!(told(1).await, [&numbered[..1]]);
    // These wait for the answer to the first.
    for body in &bodies[1..6] {
        you.bind(body).await.ok();
    }
    node.kill().await;
    neighbour.set_reply(PUSH, Reply::new(200, r#"{"success":true}"#));

    let others = others(&home).await;
    assert_eq!(told(7).await, [&numbered[..1], &numbered[..6]]);
    // And on from there.
    you.at(&others[0]).bind(&bodies[6]).await.ok();
    assert_eq!(told(8).await, [&numbered[..1], &numbered[..6], &numbered[6..]]);
}

#[tokio::test]
async fn a_mail_that_a_killed_node_was_handing_over_comes_when_another_is_asked_for_it() {
    let trouble = Some(("", Trouble::Silent));
    let behaviour = Behaviour { trouble, troubles: 2, ..Behaviour::default() };
    let mail = SmtpServer::start(behaviour).await;
    let home = Home::with(&format!(
        "email.smtp = {{ host = '127.0.0.1', port = {}, timeout = '10s' }}",
        mail.port
    ));
    let mut node = home.serve().await;
    let you = Person::of(&home, &node);
    let emails = addresses(2);
    let ask = async |person: Person, email: String, attempt: usize| {
        let body = json!({ "email": email, "client_secret": SECRET, "send_attempt": attempt });
        person.post("/validate/email/requestToken", &body).await
    };
    let killing = async {
        until("mails that are on their way", async || (mail.seen().troubles == 2).then_some(()))
            .await;
        node.kill().await;
    };
    let asking =
        join(ask(you.clone(), emails[0].clone(), 1), ask(you.clone(), emails[1].clone(), 1));
    let ((one, other), ()) = tokio::join!(asking, killing);
    assert_eq!((one.status, other.status), (0, 0), "they were answered: {one:?}, {other:?}");

    // The client tries again, or the person does.
    let node = home.serve().await;
    let you = you.at(&node);
    let (one, other) =
        join(ask(you.clone(), emails[0].clone(), 1), ask(you.clone(), emails[1].clone(), 2)).await;
    let mails = mail.seen().mails;
    assert_eq!(mails.len(), 2, "{one:?}, {other:?}");
    for (email, answer) in emails.iter().zip([one, other]) {
        let mail = mails.iter().find(|mail| mail.to[0].contains(email.as_str())).unwrap();
        assert_eq!(you.open(&link(str::from_utf8(&mail.raw).unwrap()).unwrap()).await.status, 200);
        let sid = answer.ok()["sid"].clone();
        let body = json!({ "sid": sid, "client_secret": SECRET, "mxid": MXID });
        you.bind(&body).await.ok();
    }
    assert_eq!(you.find(&emails).await, emails);
}
