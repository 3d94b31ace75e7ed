//! People, who do what their clients let them do.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::{
    api::{Answer, Api},
    synapse::Synapse,
    world::World,
};

/// Everybody's.
pub(crate) const PASSWORD: &str = "correct horse battery staple";

/// Somebody with an account at the homeserver.
pub(crate) struct Person<'a> {
    world: &'a World,
    pub(crate) mxid: String,
    /// The homeserver for this person.
    pub(crate) homeserver: Api,
    /// The identity server for this person, without a token before they were introduced.
    pub(crate) identity: Api,
}

/// A session of a validation at the identity server.
pub(crate) struct Session {
    sid: String,
    client_secret: String,
}

impl Session {
    /// The same as it looks to who has another secret.
    pub(crate) fn with_secret(self, client_secret: &str) -> Self {
        Self { client_secret: client_secret.to_owned(), ..self }
    }

    /// The session of an answer to a request with this secret.
    fn of(opened: &Value, client_secret: String) -> Self {
        Self { sid: opened["sid"].as_str().unwrap().to_owned(), client_secret }
    }

    fn json(&self) -> Value {
        json!({ "sid": self.sid, "client_secret": self.client_secret })
    }

    fn with_token(&self, token: &str) -> Value {
        let mut body = self.json();
        body["token"] = json!(token);
        body
    }
}

/// What the homeserver answered to who wants to prove a number.
pub(crate) struct Asked<'a> {
    world: &'a World,
    pub(crate) answer: Value,
    pub(crate) session: Session,
}

impl Asked<'_> {
    /// Gives a code back to where the homeserver wants it.
    pub(crate) async fn submit(&self, code: &str) -> Answer {
        let url = self.answer["submit_url"].as_str().unwrap();
        self.world.api_at(url).post("", self.session.with_token(code)).await
    }
}

impl<'a> Person<'a> {
    /// Opens an account at the homeserver.
    pub(crate) async fn register(world: &'a World, synapse: &Synapse, name: &str) -> Self {
        let homeserver = world.client_api(synapse);
        let auth = json!({ "type": "m.login.dummy" });
        let body = json!({ "username": name, "password": PASSWORD, "auth": auth });
        let registered = homeserver.post("/register", body).await.ok();
        let token = registered["access_token"].as_str().unwrap();
        let homeserver = homeserver.with_token(token);
        let mxid = format!("@{name}:{}", synapse.name);
        assert_eq!(registered["user_id"], mxid);
        Self { world, mxid, homeserver, identity: world.identity() }
    }

    /// A token of the homeserver that proves who the person is.
    pub(crate) async fn openid_token(&self) -> Value {
        let path = format!("/user/{}/openid/request_token", self.mxid);
        self.homeserver.post(&path, json!({})).await.ok()
    }

    /// Opens an account at the identity server.
    pub(crate) async fn introduce(&mut self) {
        let registered = self.identity.post("/account/register", self.openid_token().await).await;
        self.identity = self.identity.with_token(registered.ok()["token"].as_str().unwrap());
    }

    /// Asks for a mail that proves the address.
    pub(crate) async fn ask_for_mail(&self, address: &str) -> Session {
        let client_secret = client_secret();
        let body = json!({ "email": address, "client_secret": client_secret, "send_attempt": 1 });
        let opened = self.identity.post("/validate/email/requestToken", body).await.ok();
        Session::of(&opened, client_secret)
    }

    /// Proves a number, as it is typed in `country`, by the code in the text message.
    pub(crate) async fn prove_phone(&self, country: &str, typed: &str, number: &str) -> Session {
        let client_secret = client_secret();
        let body = phone_request(country, typed, &client_secret);
        let opened = self.identity.post("/validate/msisdn/requestToken", body).await.ok();
        let session = Session::of(&opened, client_secret);
        let body = session.with_token(&self.world.texted_code(number));
        self.identity.post("/validate/msisdn/submitToken", body).await.ok();
        session
    }

    /// Asks the homeserver for a text message that proves a number.
    pub(crate) async fn ask_homeserver_for_text(&self, country: &str, typed: &str) -> Asked<'a> {
        let client_secret = client_secret();
        let body = phone_request(country, typed, &client_secret);
        let answer = self.homeserver.post("/account/3pid/msisdn/requestToken", body).await.ok();
        let session = Session::of(&answer, client_secret);
        Asked { world: self.world, answer, session }
    }

    /// Has the homeserver add what was proved in a session to the account.
    pub(crate) async fn add(&self, session: &Session) -> Answer {
        let mut body = session.json();
        body["auth"] = self.password();
        self.homeserver.post("/account/3pid/add", body).await
    }

    /// Logs in with a number of the account.
    pub(crate) async fn log_in_by_phone(&self, number: &str) -> Answer {
        // Not m.id.phone, from which Synapse 1.163 wants the number under a name of its own.
        let identifier =
            json!({ "type": "m.id.thirdparty", "medium": "msisdn", "address": number });
        let body = json!({
            "type": "m.login.password", "identifier": identifier, "password": PASSWORD,
        });
        self.homeserver.post("/login", body).await
    }

    /// Proves an address as people do: by the link in the mail.
    pub(crate) async fn prove(&self, address: &str) -> Session {
        let session = self.ask_for_mail(address).await;
        self.world.open_mailed_link(address).await;
        session
    }

    /// Has the homeserver bind what was proved in a session.
    pub(crate) async fn bind(&self, session: &Session) -> Answer {
        let mut body = self.identity_server();
        body["sid"] = json!(session.sid);
        body["client_secret"] = json!(session.client_secret);
        self.homeserver.post("/account/3pid/bind", body).await
    }

    /// Binds what was proved in a session, without the homeserver's help.
    pub(crate) async fn bind_directly(&self, session: &Session) -> Answer {
        let mut body = session.json();
        body["mxid"] = json!(self.mxid);
        self.identity.post("/3pid/bind", body).await
    }

    /// Has the homeserver unbind an address.
    pub(crate) async fn unbind(&self, address: &str) -> Answer {
        self.unbind_medium("email", address).await
    }

    /// Has the homeserver unbind a number.
    pub(crate) async fn unbind_phone(&self, number: &str) -> Answer {
        self.unbind_medium("msisdn", number).await
    }

    async fn unbind_medium(&self, medium: &str, address: &str) -> Answer {
        let id_server = self.world.bindery.id_server();
        let body = json!({ "medium": medium, "address": address, "id_server": id_server });
        self.homeserver.post("/account/3pid/unbind", body).await
    }

    /// Gives up the account at the homeserver.
    pub(crate) async fn leave_homeserver(&self) -> Answer {
        self.homeserver.post("/account/deactivate", json!({ "auth": self.password() })).await
    }

    /// What the homeserver asks for where a token is not enough.
    fn password(&self) -> Value {
        let identifier = json!({ "type": "m.id.user", "user": self.mxid });
        json!({ "type": "m.login.password", "identifier": identifier, "password": PASSWORD })
    }

    /// Proves an address and binds it.
    pub(crate) async fn own(&self, address: &str) {
        let session = self.prove(address).await;
        assert_eq!(self.bind(&session).await.ok(), json!({}));
    }

    /// Who is behind an address, asked by hash.
    pub(crate) async fn find(&self, address: &str) -> Option<String> {
        self.find_by("email", address).await
    }

    /// Who is behind a number, asked by hash.
    pub(crate) async fn find_by_phone(&self, number: &str) -> Option<String> {
        self.find_by("msisdn", number).await
    }

    async fn find_by(&self, medium: &str, address: &str) -> Option<String> {
        use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
        use sha2::{Digest, Sha256};
        let details = self.identity.get("/hash_details").await.ok();
        let pepper = details["lookup_pepper"].as_str().unwrap();
        let hash = URL_SAFE_NO_PAD.encode(Sha256::digest(format!("{address} {medium} {pepper}")));
        let body = json!({ "algorithm": "sha256", "pepper": pepper, "addresses": [hash] });
        let found = self.identity.post("/lookup", body).await.ok();
        found["mappings"][&hash].as_str().map(str::to_owned)
    }

    /// Opens a room.
    pub(crate) async fn open_room(&self, name: &str) -> String {
        let body = json!({ "preset": "private_chat", "name": name });
        let opened = self.homeserver.post("/createRoom", body).await.ok();
        opened["room_id"].as_str().unwrap().to_owned()
    }

    /// Invites whoever is behind an address.
    pub(crate) async fn invite(&self, address: &str, room: &str) -> Answer {
        let mut body = self.identity_server();
        body["medium"] = json!("email");
        body["address"] = json!(address);
        self.homeserver.post(&format!("/rooms/{room}/invite"), body).await
    }

    /// Who invited this person to a room, if somebody has.
    pub(crate) async fn inviter(&self, room: &str) -> Option<String> {
        let state = &self.sync().await["rooms"]["invite"][room]["invite_state"]["events"];
        let event = state.as_array()?.iter().find(|event| event["state_key"] == self.mxid)?;
        assert_eq!(event["content"]["membership"], "invite", "{event}");
        Some(event["sender"].as_str().unwrap().to_owned())
    }

    /// Joins a room.
    pub(crate) async fn join(&self, room: &str) -> Answer {
        self.homeserver.post(&format!("/join/{room}"), json!({})).await
    }

    /// Joins a room by an invitation that was signed for this person.
    pub(crate) async fn join_signed(&self, room: &str, signed: &Value) -> Answer {
        self.homeserver
            .post(&format!("/join/{room}"), json!({ "third_party_signed": signed }))
            .await
    }

    /// Declines the invitation to a room.
    pub(crate) async fn decline(&self, room: &str) {
        self.homeserver.post(&format!("/rooms/{room}/leave"), json!({})).await.ok();
    }

    /// Asserts that these people are in a room, and no others.
    pub(crate) async fn sees_in(&self, room: &str, people: &[&Person<'_>]) {
        let members = self.homeserver.get(&format!("/rooms/{room}/joined_members")).await.ok();
        let members: BTreeSet<_> = members["joined"].as_object().unwrap().keys().collect();
        assert_eq!(members, people.iter().map(|person| &person.mxid).collect());
    }

    /// What a room shows of those who are invited to it by their address.
    pub(crate) async fn invited_by_address(&self, room: &str) -> Vec<String> {
        let events = self.invitations_by_address(room).await;
        let name = |event: &Value| event["content"]["display_name"].as_str().map(str::to_owned);
        events.iter().filter_map(name).collect()
    }

    /// Takes back all invitations of addresses to a room.
    pub(crate) async fn take_back_invitations(&self, room: &str) {
        for event in self.invitations_by_address(room).await {
            let token = event["state_key"].as_str().unwrap();
            let path = format!("/rooms/{room}/state/m.room.third_party_invite/{token}");
            self.homeserver.put(&path, json!({})).await.ok();
        }
    }

    async fn invitations_by_address(&self, room: &str) -> Vec<Value> {
        let Value::Array(mut state) =
            self.homeserver.get(&format!("/rooms/{room}/state")).await.ok()
        else {
            panic!("the state of a room is no list")
        };
        state.retain(|event| event["type"] == "m.room.third_party_invite");
        state
    }

    /// Everything that the homeserver shows this person.
    async fn sync(&self) -> Value {
        self.homeserver.get("/sync").await.ok()
    }

    /// How a client tells its homeserver which identity server it uses.
    fn identity_server(&self) -> Value {
        json!({
            "id_server": self.world.bindery.id_server(),
            "id_access_token": self.identity.token,
        })
    }
}

/// A secret that nobody used before.
fn client_secret() -> String {
    format!("monkeys_are.GREAT-{}", rand::random::<u32>())
}

fn phone_request(country: &str, typed: &str, client_secret: &str) -> Value {
    json!({
        "country": country, "phone_number": typed, "client_secret": client_secret,
        "send_attempt": 1,
    })
}
