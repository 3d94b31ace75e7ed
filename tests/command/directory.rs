//! What `bindery directories` says.

use std::time::Duration;

use serde_json::{Value, json};

use crate::{
    directories::{FakePerson, FakeProgram, FakeService, Mood, people, person},
    process::{Done, Home, until},
};

async fn directories(home: &Home, arguments: &[&str]) -> Done {
    let mut command = home.command(&[&["directories"], arguments].concat());
    let output = tokio::task::spawn_blocking(move || command.output().unwrap());
    Done::of(output.await.unwrap())
}

/// A home whose server has run before it knew of directories.
async fn home(toml: &str) -> Home {
    let home = Home::new();
    home.serve().await.kill().await;
    let file = home.path().join("bindery.toml");
    let before = std::fs::read_to_string(&file).unwrap();
    std::fs::write(file, format!("{before}\n{toml}")).unwrap();
    home
}

/// What a command told that failed in some step.
fn failed(done: &Done) -> (&str, &str) {
    assert_eq!(done.code, Some(1), "{done:?}");
    (&done.out, &done.err)
}

fn service() -> FakeService {
    FakeService::start(vec![FakePerson {
        localpart: "anna",
        name: "Anna",
        password: "geheim",
        email: "anna@example.org",
    }])
}

fn program() -> FakeProgram {
    let program = FakeProgram::new();
    let both =
        [person("bob", &["bob@example.org", "x@example.org"]), person("carol", &["x@example.org"])];
    program.answers("people", &people(&both));
    program.answers("find", &json!({ "found": [] }));
    program
}

/// The output with its times left out.
fn told(done: &str) -> String {
    let lines = done.lines().map(|line| line.rsplit_once(" (").map_or(line, |(told, _)| told));
    lines.collect::<Vec<_>>().join("\n")
}

#[tokio::test]
async fn directories_are_listed_checked_copied_and_asked() {
    let (service, program) = (service(), program());
    let toml =
        format!("{}{}", service.toml("intranet", "search = false"), program.toml("staff", ""));
    let home = home(&toml).await;
    let synced = directories(&home, &["sync"]).await.ok();
    assert_eq!(
        told(&synced),
        "ok    staff: 1 addresses; 1 more are several people's, and so nobody's"
    );
    let listed = directories(&home, &["list"]).await.ok();
    let lines: Vec<Vec<&str>> = listed.lines().map(|line| line.split('\t').collect()).collect();
    assert_eq!(lines[0], ["intranet", "http", "identities,login", "0", "not copied", "-"]);
    assert_eq!(lines[1][..4], ["staff", "exec", "identities,login,search", "1"]);
    assert!(lines[1][4].ends_with(" GMT"), "{listed}");
    let found = directories(&home, &["find", "email", "Anna@example.org"]).await.ok();
    let expected = "ok    intranet: @anna:hs.example\nok    staff: unknown there\n      in the copies: unknown";
    assert_eq!(told(&found), expected);
    let found = directories(&home, &["find", "email", "bob@example.org"]).await.ok();
    assert!(found.ends_with("in the copies: @bob:hs.example\n"), "{found}");
    let unknown = directories(&home, &["find", "email", "nobody@example.org"]).await;
    assert!(failed(&unknown).1.contains("no directory knows it"), "{unknown:?}");
    let checked = directories(&home, &["check", "staff"]).await.ok();
    let expected = "ok    looking an address up: answers, and knows nobody with it\n\
                    ok    searching: it can't be asked that\n\
                    ok    listing people: 2 people, 2 of them with an address";
    assert_eq!(told(&checked), expected);
    let unknown = directories(&home, &["check", "stuff"]).await.failed(1);
    assert!(unknown.contains("no directory stuff, but: intranet, staff"), "{unknown}");
}

#[tokio::test]
async fn what_fails_is_told_with_what_helps() {
    let (service, program) = (service(), program());
    service.set_mood(Mood::Says(401, String::new()));
    program.write("fail");
    let toml = format!("{}{}", service.toml("intranet", ""), program.toml("staff", ""));
    let home = home(&toml).await;
    let checked = directories(&home, &["check", "intranet"]).await;
    let (out, err) = failed(&checked);
    assert!(out.contains("FAIL  looking an address up: it refuses: status 401"), "{out}");
    assert!(out.contains("secret may be wrong") && err.contains("not everything works"), "{err}");
    for name in ["intranet", "staff"] {
        let refused = directories(&home, &["sync", name]).await;
        assert!(failed(&refused).1.contains("not everything was copied"), "{refused:?}");
    }
    let listed = directories(&home, &["list"]).await.ok();
    assert!(listed.contains("\tnever\tit refuses: exit status: 3"), "{listed}");
}

#[tokio::test]
async fn a_server_copies_by_itself_and_goes_on_while_a_directory_fails() {
    let (service, program) = (service(), program());
    service.set_mood(Mood::Slow(Duration::from_mins(1)));
    let toml = format!("{}{}", service.toml("intranet", ""), program.toml("staff", ""));
    let home = Home::with(&toml);
    let mut server = home.serve().await;
    until("the copy", async || {
        Some(server.log()).filter(|log| log.contains("copied the directory"))
    })
    .await;
    assert_eq!(program.times("people", &Value::Null), 1);
    let log = server.log();
    assert!(!log.contains("@example.org"), "{log}");
    assert!(log.contains("several people's"), "{log}");
    server.kill().await;
}

#[tokio::test]
async fn a_server_that_is_stopped_leaves_its_copy_to_the_next_one() {
    let program = program();
    let page = json!({ "people": [person("bob", &["bob@example.org"])], "next": "2" });
    program.answers("people", &page);
    program.answers("people2", &people(&[]));
    program.write("hang2");
    let home = Home::with(&program.toml("staff", ""));
    let mut server = home.serve().await;
    until("it hangs", async || program.path("child").exists().then_some(())).await;
    server.signal("TERM");
    assert!(server.ended().await.success());
    program.remove("hang2");
    let mut server = home.serve().await;
    until("the copy", async || {
        Some(server.log()).filter(|log| log.contains("copied the directory"))
    })
    .await;
    assert_eq!(program.times("people", &Value::Null), 1);
    server.kill().await;
}
