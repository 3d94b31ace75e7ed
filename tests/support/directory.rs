//! Directories on loopback: a service that speaks the JSON of ma1sd's REST backend, held against its
//! description, and a program.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use actix_web::{
    App, HttpRequest, HttpResponse, HttpServer,
    dev::ServerHandle,
    web::{self, Bytes, Data},
};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Where services are.
pub(crate) const MA1SD: &str = "/_ma1sd/backend/api/v1/";

/// Where they were once.
pub(crate) const MXISD: &str = "/_mxisd/backend/api/v1/";

/// Somebody whom the service knows.
pub(crate) struct FakePerson {
    pub(crate) localpart: &'static str,
    pub(crate) name: &'static str,
    pub(crate) password: &'static str,
    pub(crate) email: &'static str,
}

/// What the service does.
#[derive(Clone)]
pub(crate) enum Mood {
    /// It answers.
    Well,
    /// It answers after a while.
    Slow(Duration),
    /// It answers this.
    Says(u16, String),
}

/// The service; it stops when it is dropped.
pub(crate) struct FakeService {
    pub(crate) port: u16,
    state: Arc<State>,
    handle: ServerHandle,
}

struct State {
    people: Vec<FakePerson>,
    prefix: &'static str,
    mood: Mutex<Mood>,
    asked: Mutex<Vec<Asked>>,
    at_once: AtomicUsize,
    most_at_once: AtomicUsize,
}

/// A question as it came.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) path: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Value,
}

impl FakeService {
    pub(crate) fn start(people: Vec<FakePerson>) -> Self {
        Self::at(MA1SD, people, None)
    }

    /// A service with these paths, possibly behind TLS.
    pub(crate) fn at(
        prefix: &'static str,
        people: Vec<FakePerson>,
        tls: Option<rustls::ServerConfig>,
    ) -> Self {
        let state = Arc::new(State {
            people,
            prefix,
            mood: Mutex::new(Mood::Well),
            asked: Mutex::default(),
            at_once: AtomicUsize::new(0),
            most_at_once: AtomicUsize::new(0),
        });
        let shared = Data::from(state.clone());
        let server = HttpServer::new(move || {
            App::new().app_data(shared.clone()).default_service(web::to(answer))
        })
        .workers(1)
        .disable_signals();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = match tls {
            Some(tls) => server.listen_rustls_0_23(listener, tls),
            None => server.listen(listener),
        };
        let server = server.unwrap().run();
        let handle = server.handle();
        tokio::spawn(server);
        Self { port, state, handle }
    }

    pub(crate) fn set_mood(&self, mood: Mood) {
        *self.state.mood.lock().unwrap() = mood;
    }

    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.state.asked.lock().unwrap().clone()
    }

    /// How many questions were on their way at once at the most.
    pub(crate) fn most_at_once(&self) -> usize {
        self.state.most_at_once.load(Ordering::SeqCst)
    }

    /// A `[[directories]]` of this name.
    pub(crate) fn toml(&self, name: &str, more: &str) -> String {
        format!(
            "[[directories]]\nname = '{name}'\ntype = 'http'\nmxid = '@{{uid}}:hs.example'\n\
             timeout = '5s'\n{more}\n[directories.http]\nbase_url = 'http://127.0.0.1:{}'\n",
            self.port
        )
    }
}

impl Drop for FakeService {
    fn drop(&mut self) {
        drop(self.handle.stop(false));
    }
}

async fn answer(state: Data<State>, request: HttpRequest, body: Bytes) -> HttpResponse {
    let at_once = state.at_once.fetch_add(1, Ordering::SeqCst) + 1;
    state.most_at_once.fetch_max(at_once, Ordering::SeqCst);
    let body: Value = serde_json::from_slice(&body).unwrap();
    let headers = request.headers().iter();
    let headers = headers.map(|(name, value)| (name.to_string(), value.to_str().unwrap().into()));
    let path = request.path().to_owned();
    state.asked.lock().unwrap().push(Asked {
        path: path.clone(),
        headers: headers.collect(),
        body: body.clone(),
    });
    let mood = state.mood.lock().unwrap().clone();
    let response = match mood {
        Mood::Says(status, text) => HttpResponse::build(status.try_into().unwrap()).body(text),
        Mood::Well => said(&state, &request, &path, &body),
        Mood::Slow(pause) => {
            tokio::time::sleep(pause).await;
            said(&state, &request, &path, &body)
        }
    };
    state.at_once.fetch_sub(1, Ordering::SeqCst);
    response
}

/// The answer to a question that is as it should be; anything else is refused.
fn said(state: &State, request: &HttpRequest, path: &str, body: &Value) -> HttpResponse {
    let Some(path) = path.strip_prefix(state.prefix) else {
        return HttpResponse::NotFound().finish();
    };
    let is_json = request.headers().get("content-type").is_some_and(|it| it == "application/json");
    if request.method() != "POST" || !is_json {
        return HttpResponse::BadRequest().finish();
    }
    let said = match path {
        "identity/single" => single(state, body),
        "identity/bulk" => bulk(state, body),
        "auth/login" => login(state, body),
        "directory/user/search" => search(state, body),
        _ => None,
    };
    said.map_or_else(|| HttpResponse::BadRequest().finish(), |said| HttpResponse::Ok().json(said))
}

/// The fields of an object that has these and no others.
fn fields<'a, const N: usize>(object: &'a Value, names: [&str; N]) -> Option<[&'a Value; N]> {
    let object = object.as_object()?;
    (object.len() == N && names.iter().all(|name| object.contains_key(*name)))
        .then(|| names.map(|name| &object[name]))
}

/// Whose an address is: one or nobody; `None` for what is no address.
fn mapping(state: &State, address: &Value) -> Option<Vec<Value>> {
    let [medium, address] = fields(address, ["medium", "address"])?;
    let is_known = |person: &&FakePerson| medium == "email" && *address == person.email;
    let mappings = state.people.iter().find(is_known).map(|person| {
        let id = match person.localpart.strip_prefix("mxid:") {
            Some(mxid) => json!({ "type": "mxid", "value": mxid }),
            None => json!({ "type": "localpart", "value": person.localpart }),
        };
        json!({ "medium": medium, "address": address, "id": id })
    });
    Some(mappings.into_iter().collect())
}

fn single(state: &State, body: &Value) -> Option<Value> {
    let [lookup] = fields(body, ["lookup"])?;
    let found = mapping(state, lookup)?.pop();
    Some(found.map_or(json!({}), |found| json!({ "lookup": found })))
}

fn bulk(state: &State, body: &Value) -> Option<Value> {
    let [lookup] = fields(body, ["lookup"])?;
    let found: Option<Vec<_>> = lookup.as_array()?.iter().map(|one| mapping(state, one)).collect();
    Some(json!({ "lookup": found?.into_iter().flatten().collect::<Vec<_>>() }))
}

fn login(state: &State, body: &Value) -> Option<Value> {
    let [auth] = fields(body, ["auth"])?;
    let [mxid, localpart, domain, password] =
        fields(auth, ["mxid", "localpart", "domain", "password"])?;
    assert_eq!(*mxid, format!("@{}:{}", localpart.as_str()?, domain.as_str()?));
    let is_known = |person: &&FakePerson| *localpart == person.localpart;
    let Some(person) = state.people.iter().find(is_known) else {
        return Some(json!({ "auth": { "success": false } }));
    };
    if *password != person.password {
        return Some(json!({ "auth": { "success": false, "profile": null } }));
    }
    Some(json!({ "auth": {
        "success": true,
        "id": { "type": "localpart", "value": person.localpart },
        "profile": {
            "display_name": person.name,
            "three_pids": [{ "medium": "email", "address": person.email }],
        },
    } }))
}

fn search(state: &State, body: &Value) -> Option<Value> {
    let [by, term] = fields(body, ["by", "search_term"])?;
    let term = term.as_str()?.to_lowercase();
    let matches = |person: &&FakePerson| match by.as_str().unwrap() {
        "name" => person.name.to_lowercase().contains(&term),
        "threepid" => person.email.contains(&term),
        other => panic!("by {other}"),
    };
    let results = state.people.iter().filter(matches).map(|person| {
        json!({ "user_id": person.localpart, "display_name": person.name, "avatar_url": null })
    });
    Some(json!({ "limited": false, "results": results.collect::<Vec<_>>() }))
}

/// A program that answers with what lies in its folder, and notes what it was asked.
pub(crate) struct FakeProgram {
    pub(crate) folder: TempDir,
}

const SCRIPT: &str = r#"#!/bin/sh
question=$(cat)
echo "$question" >> "$1/asked"
env > "$1/environment"
case "$question" in
  *'"question":"people"'*) kind=people ;;
  *'"question":"changes"'*) kind=changes ;;
  *'"question":"find"'*) kind=find ;;
  *'"question":"search"'*) kind=search ;;
  *'"question":"check"'*) kind=check ;;
esac
after=$(echo "$question" | sed -n 's/.*"after":"\([^"]*\)".*/\1/p')
[ -e "$1/fail$after" ] && exit 3
if [ -e "$1/hang$after" ]; then
  sleep 600 &
  echo $! > "$1/child"
  wait
fi
[ -e "$1/$kind$after.json" ] && exec cat "$1/$kind$after.json"
echo '{"unsupported": true}'
"#;

impl FakeProgram {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let script = folder.path().join("people.sh");
        fs::write(&script, SCRIPT).unwrap();
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
        Self { folder }
    }

    pub(crate) fn path(&self, file: &str) -> std::path::PathBuf {
        self.folder.path().join(file)
    }

    /// Lets it answer a question with this from now on.
    pub(crate) fn answers(&self, question: &str, answer: &Value) {
        fs::write(self.path(&format!("{question}.json")), answer.to_string()).unwrap();
    }

    pub(crate) fn write(&self, file: &str) {
        fs::write(self.path(file), "").unwrap();
    }

    pub(crate) fn remove(&self, file: &str) {
        fs::remove_file(self.path(file)).unwrap();
    }

    /// What it was asked.
    pub(crate) fn asked(&self) -> Vec<Value> {
        let lines = fs::read_to_string(self.path("asked")).unwrap_or_default();
        lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// How often it was asked this, where asking goes on after `after`.
    pub(crate) fn times(&self, question: &str, after: &Value) -> usize {
        let asked = self.asked();
        asked.iter().filter(|it| it["question"] == question && it["after"] == *after).count()
    }

    /// A `[[directories]]` of this name.
    pub(crate) fn toml(&self, name: &str, more: &str) -> String {
        let folder: &Path = self.folder.path();
        let (script, folder) = (folder.join("people.sh"), folder.display());
        format!(
            "[[directories]]\nname = '{name}'\ntype = 'exec'\nmxid = '@{{uid}}:hs.example'\n\
             timeout = '10s'\n{more}\n[directories.exec]\ncommand = ['{}', '{folder}']\n",
            script.display()
        )
    }
}

/// Somebody as the program tells of them.
pub(crate) fn person(user: &str, emails: &[&str]) -> Value {
    let held = emails.iter().map(|email| json!({ "medium": "email", "address": email }));
    json!({ "user": user, "display_name": user, "threepids": held.collect::<Vec<_>>() })
}

/// All that the program tells, in one page.
pub(crate) fn people(people: &[Value]) -> Value {
    json!({ "people": people })
}
