//! Logging in with a 3PID, in front of a homeserver that remembers what it was asked.

mod hostile;
mod limits;
mod named;
mod through;

use serde_json::{Value, json};

use crate::{
    harness::{Answer, TestApp, answer},
    homeserver::{Ca, FakeHomeserver, Received},
};

/// Where clients log in.
pub(crate) const LOGIN: &str = "/_matrix/client/v3/login";

const ALICE: &str = "@alice:hs.example";
const EMAIL: &str = "alice@example.org";
const PASSWORD: &str = "correct horse battery staple";

/// A server, and the homeserver that stands behind it.
pub(crate) struct Behind {
    pub(crate) app: TestApp,
    pub(crate) homeserver: FakeHomeserver,
    toml: String,
    _ca: Ca,
}

impl Behind {
    pub(crate) async fn start() -> Self {
        Self::with("", "limits.enabled = false").await
    }

    /// One with more in its section, each key after a comma, and more configuration.
    pub(crate) async fn with(keys: &str, toml: &str) -> Self {
        let ca = Ca::new();
        let homeserver = FakeHomeserver::start(&ca, &["localhost"]).await;
        homeserver.set_password(ALICE, PASSWORD);
        let gateway = format!(
            "gateway = {{ homeserver = 'https://{}', server_name = 'hs.example', \
             ca_file = '{}', refusal_time = '1ms'{keys} }}\n",
            homeserver.name("localhost"),
            ca.file().display(),
        );
        let toml = format!("{gateway}{toml}");
        Self { app: TestApp::with(&toml).await, homeserver, toml, _ca: ca }
    }

    /// A second node in front of the same homeserver.
    async fn second_node(&self) -> TestApp {
        self.app.beside(&self.toml).await
    }

    /// Alice proves an address and binds it.
    async fn alice_owns(&self, email: &str) {
        self.app.account(ALICE).await.bound(email, ALICE).await;
    }

    async fn log_in(&self, body: &Value) -> Answer {
        self.app.stranger().post(LOGIN, body.clone()).await
    }

    /// What the homeserver was asked last.
    pub(crate) fn last(&self) -> Received {
        self.homeserver.requests().pop().unwrap()
    }

    /// Whom the homeserver was asked to log in last.
    fn last_user(&self) -> String {
        let body: Value = serde_json::from_slice(&self.last().body).unwrap();
        assert_eq!(body["identifier"]["type"], "m.id.user", "{body}");
        body["identifier"]["user"].as_str().unwrap().to_owned()
    }
}

/// A login with an identifier.
fn with_identifier(identifier: &Value, password: &str) -> Value {
    json!({ "type": "m.login.password", "identifier": identifier, "password": password })
}

fn by_email(email: &str, password: &str) -> Value {
    let identifier = json!({ "type": "m.id.thirdparty", "medium": "email", "address": email });
    with_identifier(&identifier, password)
}

#[tokio::test]
async fn without_a_homeserver_there_is_no_login() {
    let app = TestApp::start().await;
    app.stranger().post(LOGIN, by_email(EMAIL, PASSWORD)).await.refused(404, "M_UNRECOGNIZED");
    app.stranger().get(LOGIN).await.refused(404, "M_UNRECOGNIZED");
    let options = answer(app.stranger().request("OPTIONS", LOGIN)).await;
    assert_eq!((options.status, options.header("access-control-allow-origin")), (200, "*"));
}
