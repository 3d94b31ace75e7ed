//! What the commands print, and how they end.

use std::{fs, os::unix::fs::PermissionsExt};

use crate::process::{Done, Home, MXID, Person, bare_command, until};

/// What `bindery` says in an empty folder.
fn run(arguments: &[&str]) -> Done {
    let folder = tempfile::tempdir().unwrap();
    Done::of(bare_command(folder.path(), arguments).output().unwrap())
}

#[test]
fn each_command_explains_itself_to_a_stranger() {
    for (command, words) in [
        (vec![], vec!["Matrix identity server", "serve", "127.0.0.1:8090", "BINDERY_SERVER__NAME"]),
        (vec!["serve"], vec!["Run the server", "BINDERY_CONFIG", "signing key", "Ctrl-C"]),
        (vec!["migrate"], vec!["database", "schema"]),
        (vec!["config", "check"], vec!["all that is wrong", "Connects to nothing"]),
        (vec!["keys"], vec!["make", "list", "public"]),
        (vec!["keys", "make"], vec!["next start", "Earlier keys stay"]),
        (vec!["keys", "list"], vec!["first one signs"]),
        (vec!["keys", "public"], vec!["public half"]),
        (vec!["account"], vec!["token", "list", "logout", "whether or not the server runs"]),
        (vec!["account", "token"], vec!["@you:example.org", "acts as that user"]),
        (vec!["account", "list"], vec!["how many"]),
        (vec!["account", "logout"], vec!["Forget all access tokens"]),
        (vec!["invites"], vec!["list", "show", "retry", "revoke"]),
        (vec!["invites", "retry"], vec!["Deliver now", "token"]),
        (vec!["templates"], vec!["list", "show", "preview", "no database", "docs/messages.md"]),
        (vec!["templates", "preview"], vec!["sample data", "--locale", "--brand", ".eml"]),
        (vec!["peers", "quarantine"], vec!["list", "show", "drop", "can't be believed"]),
        (vec!["peers", "quarantine", "drop"], vec!["--all", "Forget one of them"]),
        (vec!["peers"], vec!["list", "check", "lookup", "terms", "step by step"]),
        (vec!["peers", "check"], vec!["no address is looked up", "has to run"]),
        (vec!["peers", "lookup"], vec!["msisdn", "country code"]),
        (vec!["peers", "terms"], vec!["--accept", "from now on"]),
        (vec!["directories"], vec!["list", "check", "sync", "find", "docs/directories.md"]),
        (vec!["directories", "check"], vec!["step by step", "Passwords are not tried"]),
        (vec!["directories", "sync"], vec!["whether or not the server runs", "sync_interval"]),
        (vec!["directories", "find"], vec!["msisdn", "country code"]),
        (vec!["completions"], vec!["bash", "zsh", "fish"]),
    ] {
        let help = run(&[command.as_slice(), &["--help"]].concat()).ok();
        // Wherever its lines break.
        let text = help.split_whitespace().collect::<Vec<_>>().join(" ");
        for word in words {
            assert!(text.contains(word), "{command:?} doesn't mention {word}:\n{help}");
        }
        let widest = help.lines().map(|line| line.chars().count()).max();
        assert!(widest <= Some(100), "{help}");
    }
}

#[test]
fn wrong_usage_ends_with_2_and_says_what_is_expected() {
    assert!(run(&["--nope"]).failed(2).contains("Usage: bindery"));
    assert!(run(&[]).failed(2).contains("Commands:"));
    let wrong = run(&["account", "token", "you@example.org"]).failed(2);
    assert!(wrong.contains("@localpart:server.name"), "{wrong}");
    let unread = run(&["serve", "--config", "nowhere.toml"]).failed(2);
    assert!(unread.starts_with("nowhere.toml: can't be read"), "{unread}");
}

#[test]
fn config_check_says_all_that_is_wrong_with_line_and_remedy() {
    let home = Home::new();
    fs::write(
        home.path().join("bindery.toml"),
        "[server]\nlistn = ['127.0.0.1:8090']\nbase_url = 'http://id.example.org'\n\
         [email]\ntransport = 'pigeon'\n",
    )
    .unwrap();
    let mut command = home.command(&["config", "check"]);
    let wrong = Done::of(command.env("BINDERY_SESSIONS__LIFETIME", "soon").output().unwrap());
    let wrong = wrong.failed(2);
    for said in [
        "bindery.toml:2: server.listn: unknown key; did you mean listen?\n    known here: ",
        "bindery.toml:3: server.base_url: plain http is for this machine only",
        "    write https://",
        "bindery.toml:5: email.transport: expected smtp, sendmail, directory or log",
        "BINDERY_SESSIONS__LIFETIME: sessions.lifetime: ",
    ] {
        assert!(wrong.contains(said), "{said}\nisn't in\n{wrong}");
    }
    // The other commands say the same and do nothing.
    assert_eq!(home.run(&["serve"]).failed(2).lines().next(), wrong.lines().next());
    assert!(!home.path().join("bindery-data").exists());
}

#[test]
fn the_configuration_is_named_before_or_after_the_command_or_in_the_environment() {
    let home = Home::new();
    let key = |done: Done| done.ok().lines().next().unwrap().to_owned();
    fs::write(home.path().join("other.toml"), "signing.key_file = 'other.key'").unwrap();
    let in_folder = |arguments: &[&str]| bare_command(home.path(), arguments);
    let before = in_folder(&["--config", "other.toml", "keys", "make"]).output().unwrap();
    assert!(key(Done::of(before)).ends_with(" in other.key."));
    let after = in_folder(&["keys", "make", "--config", "other.toml"]).output().unwrap();
    assert!(key(Done::of(after)).ends_with(" in other.key."));
    let mut by_variable = in_folder(&["keys", "make"]);
    let by_variable = by_variable.env("BINDERY_CONFIG", "other.toml").output().unwrap();
    assert!(key(Done::of(by_variable)).ends_with(" in other.key."));
    let mut overridden = in_folder(&["keys", "make", "--config", "other.toml"]);
    let overridden = overridden.env("BINDERY_SIGNING__KEY_FILE", "third.key").output().unwrap();
    assert!(key(Done::of(overridden)).ends_with(" in third.key."));
    assert_eq!(fs::read_to_string(home.path().join("other.key")).unwrap().lines().count(), 3);
}

#[test]
fn a_new_key_goes_before_the_earlier_ones_and_is_for_its_owner_only() {
    let home = Home::new();
    let missing = home.run(&["keys", "list"]).failed(1);
    assert!(missing.contains("there is no key file bindery-data/signing.key"), "{missing}");
    assert!(missing.contains("`bindery keys make`"), "{missing}");

    home.run(&["keys", "make"]).ok();
    let first = home.run(&["keys", "list"]).ok();
    let made = home.run(&["keys", "make"]).ok();
    let both = home.run(&["keys", "list"]).ok();
    let ids: Vec<&str> = both.lines().collect();
    assert_eq!((ids.len(), ids[1]), (2, first.trim_end()));
    assert!(made.contains(&format!("Made the key {} in ", ids[0])), "{made}");

    let public = home.run(&["keys", "public"]).ok();
    for (line, id) in public.lines().zip(ids) {
        let (printed, key) = line.split_once(' ').unwrap();
        assert_eq!((printed, key.len()), (id, 43), "{line}");
    }
    assert_eq!(mode(&home, "bindery-data"), 0o700);
    assert_eq!(mode(&home, "bindery-data/signing.key"), 0o600);

    // What isn't a key file is left alone.
    let file = home.path().join("bindery-data/signing.key");
    fs::write(&file, "something else\n").unwrap();
    let refused = home.run(&["keys", "make"]).failed(1);
    assert!(refused.contains("line 1"), "{refused}");
    assert_eq!(fs::read_to_string(&file).unwrap(), "something else\n");
}

/// The permissions of a file or folder.
pub(crate) fn mode(home: &Home, path: &str) -> u32 {
    fs::metadata(home.path().join(path)).unwrap().permissions().mode() & 0o777
}

#[tokio::test]
async fn accounts_are_managed_while_the_server_runs_and_while_it_does_not() {
    let home = Home::new();
    home.run(&["migrate"]).ok();
    let early = home.run(&["account", "token", "@early:example.org"]).ok();
    let server = home.serve().await;
    let you = Person::of(&home, &server);
    let early = Person { token: early.trim_end().to_owned(), ..you.clone() };
    for (person, mxid) in [(&you, "@you:example.org"), (&early, "@early:example.org")] {
        let account = person.get("/_matrix/identity/v2/account").await.ok();
        assert_eq!(account["user_id"], mxid);
    }
    home.run(&["account", "token", "@you:example.org"]).ok();
    let list = home.run(&["account", "list"]).ok();
    assert_eq!(list, "@early:example.org\t1\n@you:example.org\t2\n");

    let gone = home.run(&["account", "logout", "@you:example.org"]).ok();
    assert_eq!(gone, "Forgot 2 access tokens of @you:example.org.\n");
    // The server hears of it within a second.
    until("the server forgets the token", async || {
        (you.get("/_matrix/identity/v2/account").await.status == 401).then_some(())
    })
    .await;
    assert_eq!(early.get("/_matrix/identity/v2/account").await.status, 200);
    drop(server);
    assert_eq!(home.run(&["account", "list"]).ok(), "@early:example.org\t1\n");
}

#[test]
fn in_a_folder_without_a_database_none_is_made_in_passing() {
    let folder = tempfile::tempdir().unwrap();
    for command in [["account", "list"], ["invites", "list"]] {
        let refused = Done::of(bare_command(folder.path(), &command).output().unwrap()).failed(1);
        assert!(refused.contains("there is no database bindery-data/bindery.db"), "{refused}");
        assert!(refused.contains("--config"), "{refused}");
        assert!(!folder.path().join("bindery-data").exists());
    }
}

/// The day of a line such as `created: Mon, 23 Nov 2026 07:08:09 GMT`.
fn day<'a>(shown: &'a str, label: &str) -> &'a str {
    let line = shown.lines().find_map(|line| line.strip_prefix(label)?.strip_prefix(": "));
    line.unwrap_or_else(|| panic!("no {label} in {shown}")).split_once(',').unwrap().0
}

#[tokio::test]
async fn invitations_are_listed_shown_and_revoked_while_the_server_runs() {
    let home = Home::new();
    let server = home.serve().await;
    let you = Person::of(&home, &server);
    let invite = serde_json::json!({
        "medium": "email", "address": "friend@example.org",
        "room_id": "!room:example.org", "sender": MXID,
    });
    let stored = you.post("/store-invite", &invite).await.ok();
    let token = stored["token"].as_str().unwrap();
    let list = home.run(&["invites", "list"]).ok();
    assert_eq!(
        list,
        format!("{token}\twaiting\tfriend@example.org\t!room:example.org\t@you:example.org\n")
    );
    let shown = home.run(&["invites", "show", token]).ok();
    assert!(["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"].contains(&day(&shown, "created")));
    assert!(home.run(&["invites", "retry", token]).failed(1).contains("nothing is owed"));
    home.run(&["invites", "revoke", token]).ok();
    assert!(home.run(&["invites", "revoke", token]).failed(1).contains("no invitation"));
    assert!(home.run(&["invites", "list"]).ok().contains("\trevoked\t"));
    assert!(home.run(&["invites", "show", "nonsense"]).failed(1).contains("no invitation"));
}

#[test]
fn migrate_makes_the_database_and_can_be_repeated() {
    let home = Home::new();
    assert_eq!(home.run(&["migrate"]).ok(), "The database is up to date.\n");
    assert_eq!(home.run(&["migrate"]).ok(), "The database is up to date.\n");
    assert_eq!(home.run(&["account", "list"]).ok(), "");
}

#[test]
fn completions_are_a_script_for_the_shell() {
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("bindery.bash");
    fs::write(&script, run(&["completions", "bash"]).ok()).unwrap();
    let ask = "source \"$0\" && COMP_WORDS=(bindery acc) COMP_CWORD=1 && \
               _bindery bindery acc bindery && echo \"${COMPREPLY[*]}\"";
    let asked = std::process::Command::new("bash").args(["-c", ask]).arg(&script).output();
    assert_eq!(Done::of(asked.unwrap()).ok(), "account\n");
}

#[test]
fn who_stops_reading_hears_no_complaint() {
    let piped = format!("{} completions bash | head -n 1", crate::process::BINDERY);
    let piped =
        std::process::Command::new("bash").args(["-o", "pipefail", "-c", &piped]).output().unwrap();
    let done = Done::of(piped);
    assert_eq!((done.code, done.err.as_str()), (Some(0), ""));
}
