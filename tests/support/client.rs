//! Requests as clients make them, and what comes back.

use serde_json::Value;

/// An API at some address, for whoever has the token.
#[derive(Clone)]
pub(crate) struct Api {
    pub(crate) http: reqwest::Client,
    /// What stands before each path.
    pub(crate) base: String,
    pub(crate) token: Option<String>,
}

impl Api {
    /// The same with an access token.
    pub(crate) fn with_token(&self, token: &str) -> Self {
        Self { token: Some(token.to_owned()), ..self.clone() }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.request("GET", path, None).await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Answer {
        self.request("POST", path, Some(body)).await
    }

    /// A POST without a body.
    pub(crate) async fn post_empty(&self, path: &str) -> Answer {
        self.request("POST", path, None).await
    }

    pub(crate) async fn put(&self, path: &str, body: Value) -> Answer {
        self.request("PUT", path, Some(body)).await
    }

    async fn request(&self, method: &str, path: &str, body: Option<Value>) -> Answer {
        let url = format!("{}{path}", self.base);
        let mut request = self.http.request(method.parse().unwrap(), &url);
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        let response = request.send().await.unwrap();
        let status = response.status().as_u16();
        let text = response.text().await.unwrap();
        let body = serde_json::from_str(&text).unwrap_or_else(|_| panic!("{url}: {text}"));
        Answer { status, body }
    }
}

/// An answer in JSON.
#[derive(Debug)]
pub(crate) struct Answer {
    status: u16,
    body: Value,
}

impl Answer {
    /// The body of a success.
    pub(crate) fn ok(self) -> Value {
        assert_eq!(self.status, 200, "{}", self.body);
        self.body
    }

    /// The body of a refusal with this status and errcode.
    pub(crate) fn refused(self, status: u16, errcode: &str) -> Value {
        let told = (self.status, self.body["errcode"].as_str());
        assert_eq!(told, (status, Some(errcode)), "{}", self.body);
        self.body
    }
}
