//! `[gateway]`, `[user_directory]` and `[well_known]`: what is done in front of a homeserver.

use std::{path::PathBuf, time::Duration};

use url::Url;

use super::{BaseUrl, Section, Server, ServerName, count, is_loopback, must_be_readable};
use crate::matrix::json::Object;

/// `[gateway]`: logging in with a 3PID.
#[derive(Debug, Clone)]
pub struct Gateway {
    /// Where the homeserver itself listens; has no path.
    pub homeserver: Url,
    /// The homeserver's name: only its users log in.
    pub server_name: ServerName,
    /// Whether a user name with an `@` in it, which no user name has, is taken for an e-mail
    /// address.
    pub login_by_address: bool,
    /// PEM certificates that are trusted beside the system's.
    pub ca_file: Option<PathBuf>,
    /// How long the homeserver may keep silent while something is expected of it.
    pub timeout: Duration,
    /// The largest body of a login, in bytes.
    pub max_login_body: usize,
    /// How long the body of a login may take to arrive.
    pub login_body_timeout: Duration,
    /// Refusals of logins with a 3PID are given after this time, or a multiple of it.
    pub refusal_time: Duration,
}

/// `[well_known]`: where clients and homeservers find a homeserver.
#[derive(Debug, Clone)]
pub struct WellKnown {
    /// How clients reach the homeserver; never ends with a slash.
    pub homeserver_base_url: String,
    /// Where other homeservers reach it.
    pub server: Option<ServerName>,
    /// What else is said to clients.
    pub extra_client: Object,
    /// What else is said to homeservers.
    pub extra_server: Object,
}

/// The longest that a homeserver may keep silent: a client's own request may ask it to wait.
const LONGEST_SILENCE: Duration = Duration::from_mins(10);

/// More than this and people try again before they were refused.
const LONGEST_REFUSAL: Duration = Duration::from_secs(10);

/// `None` where it is switched off, or along with a fault.
pub(super) fn read_gateway(s: &mut Section<'_, '_>) -> Option<Gateway> {
    let is_used = ["homeserver", "server_name", "ca_file"].iter().any(|key| s.given(key));
    let (homeserver, server_name) = if is_used {
        (s.required("homeserver"), s.required("server_name"))
    } else {
        (s.optional("homeserver"), s.optional("server_name"))
    };
    let homeserver = homeserver.map(|BaseUrl(url)| url);
    if homeserver.as_ref().is_some_and(|url| url.path() != "/") {
        let message = "has a path, but requests keep the paths that they come with";
        s.fault(&["homeserver"], message, "write it without: https://matrix-internal.example.org");
    }
    let ca_file = s.optional("ca_file");
    must_be_readable(s, "ca_file", ca_file.as_ref());
    let login_by_address = s.get("login_by_address", false);
    let timeout = up_to(s, "timeout", Duration::from_mins(2), LONGEST_SILENCE);
    let max_login_body = s.get("max_login_body", count(64 * 1024)).get();
    let login_body_timeout =
        up_to(s, "login_body_timeout", Duration::from_secs(30), LONGEST_SILENCE);
    let refusal_time = up_to(s, "refusal_time", Duration::from_secs(1), LONGEST_REFUSAL);
    Some(Gateway {
        homeserver: homeserver?,
        server_name: server_name?,
        login_by_address,
        ca_file,
        timeout,
        max_login_body: usize::try_from(max_login_body).unwrap_or(usize::MAX),
        login_body_timeout,
        refusal_time,
    })
}

/// A duration that is at most `longest`.
fn up_to(s: &mut Section<'_, '_>, key: &str, default: Duration, longest: Duration) -> Duration {
    let given = s.get(key, default);
    if given > longest {
        let message = format!("more than {} seconds is too long", longest.as_secs());
        s.fault(
            &[key],
            &message,
            &format!("write for example: {key} = \"{}s\"", default.as_secs()),
        );
    }
    given
}

/// A homeserver that is this server itself would be asked for ever.
pub(super) fn homeserver_is_another(
    root: &mut Section<'_, '_>,
    server: Option<&Server>,
    gateway: Option<&Gateway>,
) {
    let place = |url: &Url| (url.host_str().map(str::to_owned), url.port_or_known_default());
    let (Some(server), Some(gateway)) = (server, gateway) else { return };
    if Url::parse(&server.base_url).is_ok_and(|own| place(&own) == place(&gateway.homeserver)) {
        let message = "is this server itself (server.base_url)";
        let remedy = "name where the homeserver listens, not what stands in front of it";
        root.fault(&["gateway.homeserver"], message, remedy);
    }
}

/// Whether user directory searches are answered, `[user_directory]`.
pub(super) fn read_user_directory(root: &mut Section<'_, '_>) -> bool {
    let is_on = root.section("user_directory", |s| s.get("enabled", false));
    if is_on && !root.was_given("gateway.homeserver") {
        let message = "the homeserver is asked first, but gateway.homeserver names none";
        let remedy = "write [gateway] with homeserver and server_name, or leave it off";
        root.fault(&["user_directory.enabled"], message, remedy);
    }
    is_on
}

/// `None` where it is switched off, or along with a fault.
pub(super) fn read_well_known(s: &mut Section<'_, '_>) -> Option<WellKnown> {
    let is_on = s.get("enabled", false);
    let base_url: Option<BaseUrl> =
        if is_on { s.required("homeserver_base_url") } else { s.optional("homeserver_base_url") };
    if base_url.as_ref().is_some_and(|BaseUrl(url)| url.scheme() != "https" && !is_loopback(url)) {
        let message = "browsers let web clients use https only";
        s.fault(&["homeserver_base_url"], message, "write https://");
    }
    let has_server = s.given("server");
    let server: Option<ServerName> = s.optional("server");
    let extra_client = extra(s, "extra_client", &["m.homeserver", "m.identity_server"]);
    let has_extra_server = s.given("extra_server");
    let extra_server = extra(s, "extra_server", &["m.server"]);
    if is_on && has_extra_server && !has_server {
        let message = "missing, but extra_server is given, which is said along with it";
        s.fault(
            &["server", "extra_server"],
            message,
            "write for example: server = \"matrix.example.org:443\"",
        );
    }
    let BaseUrl(url) = base_url?;
    let homeserver_base_url = url.as_str().trim_end_matches('/').to_owned();
    is_on.then_some(WellKnown { homeserver_base_url, server, extra_client, extra_server })
}

/// A table whose keys stand beside `ours`.
fn extra(s: &mut Section<'_, '_>, key: &str, ours: &[&str]) -> Object {
    let object = match s.json(key) {
        None => Object::new(),
        Some(serde_json::Value::Object(object)) => object,
        Some(_) => {
            s.fault(
                &[key],
                "expected a table",
                &format!("write for example: {key} = {{ \"org.example.key\" = true }}"),
            );
            Object::new()
        }
    };
    for key_of_ours in ours.iter().filter(|ours| object.contains_key(**ours)) {
        let message = format!("has {key_of_ours}, which is said already");
        s.fault(&[key], &message, "leave it out");
    }
    object
}
