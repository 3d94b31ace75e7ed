//! People, who do what their clients let them do.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::{client::Api, process::eventually, world::World};

/// Somebody with an account at Bindery.
pub(crate) struct Person<'a> {
    world: &'a World,
    pub(crate) mxid: String,
    identity: Api,
}

/// A session in which an address was proved, and what it was.
pub(crate) struct Proof {
    address: String,
    sid: String,
    client_secret: String,
}

impl<'a> Person<'a> {
    /// Opens an account at Bindery.
    pub(crate) async fn introduce(world: &'a World, name: &str) -> Self {
        let (mxid, token) = (world.mxid(name), format!("openid-{name}"));
        world.homeserver.set_user(&token, &mxid);
        let body = json!({
            "access_token": token,
            "token_type": "Bearer",
            "matrix_server_name": world.homeserver.name("hs.test"),
            "expires_in": 3600,
        });
        let registered = world.bindery.api().post("/account/register", body).await.ok();
        let identity = world.bindery.api().with_token(registered["token"].as_str().unwrap());
        Self { world, mxid, identity }
    }

    /// Proves an address and binds it.
    pub(crate) async fn own(&self, address: &str) -> Proof {
        let client_secret = format!("monkeys_are.GREAT-{}", rand::random::<u32>());
        let body = json!({ "email": address, "client_secret": client_secret, "send_attempt": 1 });
        let opened = self.identity.post("/validate/email/requestToken", body).await.ok();
        let sid = opened["sid"].as_str().unwrap().to_owned();
        self.world.open_mailed_link(address).await;
        let body = json!({ "sid": sid, "client_secret": client_secret, "mxid": self.mxid });
        self.identity.post("/3pid/bind", body).await.ok();
        Proof { address: address.to_owned(), sid, client_secret }
    }

    /// Unbinds an address.
    pub(crate) async fn give_up(&self, proof: &Proof) {
        let body = json!({
            "sid": proof.sid,
            "client_secret": proof.client_secret,
            "mxid": self.mxid,
            "threepid": { "medium": "email", "address": proof.address },
        });
        self.identity.post("/3pid/unbind", body).await.ok();
    }

    /// Who is behind e-mail addresses, asked in plain: by address and medium.
    pub(crate) async fn find(&self, addresses: &[&str]) -> Value {
        let addresses: Vec<_> = addresses.iter().map(|a| format!("{a} email")).collect();
        self.find_any(&addresses).await
    }

    /// Who is behind addresses of any medium, which follows each of them after a space.
    pub(crate) async fn find_any(&self, addresses: &[String]) -> Value {
        let pepper = self.pepper().await;
        let body = json!({ "algorithm": "none", "pepper": pepper, "addresses": addresses });
        self.identity.post("/lookup", body).await.ok()["mappings"].take()
    }

    /// Who is behind an address, asked by hash.
    pub(crate) async fn find_hashed(&self, address: &str) -> Option<String> {
        let pepper = self.pepper().await;
        let hash = URL_SAFE_NO_PAD.encode(Sha256::digest(format!("{address} email {pepper}")));
        let body = json!({ "algorithm": "sha256", "pepper": pepper, "addresses": [hash] });
        let found = self.identity.post("/lookup", body).await.ok();
        found["mappings"][&hash].as_str().map(str::to_owned)
    }

    /// Waits until an address, asked by hash, is `mxid`'s.
    pub(crate) async fn until(&self, address: &str, mxid: Option<&str>) {
        let what = format!("Bindery knows {address} as that of {mxid:?}");
        eventually(&what, async || {
            (self.find_hashed(address).await.as_deref() == mxid).then_some(())
        })
        .await;
    }

    async fn pepper(&self) -> String {
        let details = self.identity.get("/hash_details").await.ok();
        details["lookup_pepper"].as_str().unwrap().to_owned()
    }
}
