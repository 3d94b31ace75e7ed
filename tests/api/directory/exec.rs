//! Programs as directories.

use std::{fs, time::Duration};

use bindery::directory::DirectoryError;
use serde_json::json;

use super::{BASE, at, find_plain};
use crate::{
    directories::{FakeProgram, person},
    harness::TestApp,
};

async fn with(program: &FakeProgram, more: &str) -> TestApp {
    TestApp::with(&format!("{BASE}{}", program.toml("program", more))).await
}

#[tokio::test]
async fn a_program_is_asked_on_its_input_and_answers_on_its_output() {
    let program = FakeProgram::new();
    let found =
        |address: &str, user: &str| json!({ "medium": "email", "address": address, "user": user });
    program.answers(
        "find",
        &json!({ "found": [
        found("Anna@example.org", "Anna"),
        found("bob@example.org", "@bob:hs.example"),
        found("eve@example.org", "@eve:evil.example"),
        found("other@example.org", "nobody-asked"),
    ] }),
    );
    program.answers("search", &json!({ "people": [person("anna", &[])], "limited": true }));
    let app = with(&program, "").await;
    let alice = app.account("@alice:hs.example").await;
    let addresses = ["ANNA@example.org", "bob@example.org", "eve@example.org"];
    assert_eq!(find_plain(&alice, &addresses).await, [Some(at("anna")), Some(at("bob")), None]);
    let mut asked = program.asked().pop().unwrap();
    asked["threepids"].as_array_mut().unwrap().sort_by_key(ToString::to_string);
    let email = |address: &str| json!({ "medium": "email", "address": address });
    let emails = ["anna@example.org", "bob@example.org", "eve@example.org"].map(email);
    assert_eq!(asked, json!({ "question": "find", "threepids": emails }));
    let matches = app.app.directories.search("ann", 5).await;
    assert_eq!((matches.people.len(), matches.limited), (1, true));
    let asked = program.asked().pop().unwrap();
    assert_eq!(asked, json!({ "question": "search", "term": "ann", "limit": 5 }));
}

#[tokio::test]
async fn a_program_checks_passwords_that_nobody_else_sees() {
    let program = FakeProgram::new();
    program.answers("check", &json!({ "person": person("anna", &["anna@example.org"]) }));
    let app = with(&program, "").await;
    let anna = "@anna:hs.example".parse().unwrap();
    let person = app.app.directories.check(&anna, &"geheim".into()).await.unwrap();
    assert_eq!(person.display_name.as_deref(), Some("anna"));
    let asked = program.asked().pop().unwrap();
    let question = json!({ "question": "check", "user": "anna", "mxid": "@anna:hs.example",
                           "password": "geheim" });
    assert_eq!(asked, question);
    let environment = fs::read_to_string(program.path("environment")).unwrap();
    for line in environment.lines() {
        let (name, value) = line.split_once('=').unwrap_or_default();
        assert!(
            ["PATH", "LANG", "LC_ALL", "TZ", "PWD", "_", "SHLVL", "OLDPWD"].contains(&name),
            "{line}"
        );
        assert_ne!(value, "geheim");
    }
    // Somebody else than who was asked about is nobody.
    let bob = "@bob:hs.example".parse().unwrap();
    assert!(app.app.directories.check(&bob, &"geheim".into()).await.is_none());
    // An empty password isn't tried.
    let count = program.asked().len();
    assert!(app.app.directories.check(&anna, &"".into()).await.is_none());
    program.answers("check", &json!({ "person": null }));
    assert_eq!(program.asked().len(), count);
    assert!(app.app.directories.check(&anna, &"geheim".into()).await.is_none());
}

#[tokio::test]
async fn a_program_that_takes_too_long_is_killed_with_all_that_it_has_started() {
    let program = FakeProgram::new();
    program.answers("find", &json!({ "found": [] }));
    program.write("hang");
    let app = with(&program, "").await;
    let directory = app.app.directories.get("program").unwrap();
    let threepids = [bindery::matrix::threepid::ThreePid::email("a@example.org").unwrap()];
    let asking = directory.find(&threepids);
    let has_hung = async {
        while fs::read_to_string(program.path("child"))
            .is_ok_and(|id| id.ends_with('\n'))
            .eq(&false)
        {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    // Given up as by the deadline.
    tokio::select! {
        _ = asking => panic!("it didn't hang"),
        () = has_hung => {}
    }
    let child = fs::read_to_string(program.path("child")).unwrap();
    let state = format!("/proc/{}/stat", child.trim());
    // What is killed may be a zombie until somebody asks for it.
    let is_alive = || fs::read_to_string(&state).is_ok_and(|stat| !stat.contains(") Z "));
    for _ in 0..400 {
        if !is_alive() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("it lives on");
}

#[tokio::test]
async fn the_deadline_holds() {
    let program = FakeProgram::new();
    program.write("hang");
    let app = with(&program, "").await;
    drop(app);
    let toml = program.toml("program", "").replace("timeout = '10s'", "timeout = '100ms'");
    let app = TestApp::with(&format!("{BASE}{toml}")).await;
    let directory = app.app.directories.get("program").unwrap();
    let threepids = [bindery::matrix::threepid::ThreePid::email("a@example.org").unwrap()];
    let error = directory.find(&threepids).await.unwrap_err();
    assert!(matches!(error, DirectoryError::TimedOut), "{error}");
}

#[tokio::test]
async fn what_a_program_says_amiss_is_told_without_what_it_said() {
    let program = FakeProgram::new();
    let app = with(&program, "").await;
    let directory = app.app.directories.get("program").unwrap();
    let threepids = [bindery::matrix::threepid::ThreePid::email("a@example.org").unwrap()];
    for (answer, told) in [
        (r#"{"found": [{"medium": "a@example.org"}]}"#, "it makes no sense"),
        ("a@example.org", "makes no sense"),
        ("", "makes no sense"),
        ("{}", "makes no sense"),
    ] {
        fs::write(program.path("find.json"), answer).unwrap();
        let error = directory.find(&threepids).await.unwrap_err();
        assert!(matches!(error, DirectoryError::Malformed(_)), "{told}: {error}");
        assert!(!error.to_string().contains("a@example.org"), "{error}");
        // Failures close the way to it for a while.
        app.clock.advance(Duration::from_hours(2));
    }
    let file = fs::File::create(program.path("find.json")).unwrap();
    file.set_len(17 * 1024 * 1024).unwrap();
    let error = directory.find(&threepids).await.unwrap_err();
    assert!(error.to_string().contains("longer than"), "{error}");
    app.clock.advance(Duration::from_hours(2));
    program.write("fail");
    let error = directory.find(&threepids).await.unwrap_err();
    assert!(error.to_string().contains("exit status: 3"), "{error}");
}
