//! People, who do what their clients let them do.

use serde_json::{Value, json};

use crate::{
    api::{Answer, Api},
    synapse,
    world::World,
};

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
}

impl<'a> Person<'a> {
    /// Opens an account at the homeserver.
    pub(crate) async fn register(world: &'a World, name: &str) -> Self {
        let homeserver = world.homeserver();
        let auth = json!({ "type": "m.login.dummy" });
        let body = json!({ "username": name, "password": "12345678", "auth": auth });
        let registered = homeserver.post("/register", body).await.ok();
        let token = registered["access_token"].as_str().unwrap();
        let homeserver = homeserver.with_token(token);
        let mxid = format!("@{name}:{}", synapse::NAME);
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
        let client_secret = "monkeys_are.GREAT".to_owned();
        let body = json!({ "email": address, "client_secret": client_secret, "send_attempt": 1 });
        let opened = self.identity.post("/validate/email/requestToken", body).await.ok();
        Session { sid: opened["sid"].as_str().unwrap().to_owned(), client_secret }
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

    /// Proves an address and binds it.
    pub(crate) async fn own(&self, address: &str) {
        let session = self.prove(address).await;
        assert_eq!(self.bind(&session).await.ok(), json!({}));
    }

    /// Who is behind an address, asked by hash.
    pub(crate) async fn find(&self, address: &str) -> Option<String> {
        use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
        use sha2::{Digest, Sha256};
        let details = self.identity.get("/hash_details").await.ok();
        let pepper = details["lookup_pepper"].as_str().unwrap();
        let hash = URL_SAFE_NO_PAD.encode(Sha256::digest(format!("{address} email {pepper}")));
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
