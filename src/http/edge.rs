//! What is done for every request: CORS, the client's address, the log line.

use std::{
    net::{IpAddr, Ipv4Addr},
    time::Instant,
};

use actix_web::{
    Error, HttpMessage, HttpResponse,
    body::{BoxBody, MessageBody},
    dev::{ServiceRequest, ServiceResponse},
    http::{
        Method,
        header::{HeaderMap, HeaderName, HeaderValue},
    },
    middleware::Next,
    web::Data,
};
use ipnet::IpNet;

use super::{
    extract::ClientAddress,
    lookup::{HASH_DETAILS, LOOKUP},
    through::{CLIENT, OfHomeserver},
};
use crate::{app::App, secret};

/// The CORS headers of every answer ([spec](https://spec.matrix.org/v1.19/identity-service-api/#web-browser-clients)).
/// `Retry-After` is exposed beside the specification: browsers hide it otherwise.
const CORS: [(&str, &str); 4] = [
    ("access-control-allow-origin", "*"),
    ("access-control-allow-methods", "GET, POST, PUT, DELETE, OPTIONS"),
    (
        "access-control-allow-headers",
        "Origin, X-Requested-With, Content-Type, Accept, Authorization",
    ),
    ("access-control-expose-headers", "Retry-After"),
];

/// Paths that are their own patterns, and asked for most.
const FREQUENT: [&str; 2] = [LOOKUP, HASH_DETAILS];

/// Goes around every request.
pub(super) async fn edge(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let started = Instant::now();
    let client = client_address(&request);
    request.extensions_mut().insert(ClientAddress(client));
    let method = request.method().clone();
    let mut response = if method == Method::OPTIONS && !is_for_homeserver(&request) {
        request.into_response(HttpResponse::Ok().json(serde_json::Map::new()))
    } else {
        next.call(request).await?.map_into_boxed_body()
    };
    // The homeserver says by itself what browsers may see of its answers.
    if !response.response().extensions().contains::<OfHomeserver>() {
        for (name, value) in CORS {
            let name = HeaderName::from_static(name);
            response.headers_mut().insert(name, HeaderValue::from_static(value));
        }
    }
    // The pattern in place of the path, no query: neither tokens nor addresses are logged.
    let asked = response.request().path();
    let pattern = if FREQUENT.contains(&asked) {
        // Finding it once more would cost as much as a lookup.
        Some(asked.to_owned())
    } else {
        response.request().match_pattern()
    };
    let path = pattern.as_deref().unwrap_or("(unknown)");
    // Monitoring asks every few seconds; that all is well is no news.
    let is_monitoring = path.starts_with("/health/") || path == "/metrics";
    if !(is_monitoring && response.status().is_success()) {
        tracing::info!(
            request = secret::random_alphanumeric(8),
            %method,
            path,
            status = response.status().as_u16(),
            ms = started.elapsed().as_millis(),
            "request"
        );
    }
    Ok(response)
}

/// Whether a request is one that the homeserver behind this server answers.
fn is_for_homeserver(request: &ServiceRequest) -> bool {
    let app = request.app_data::<Data<App>>();
    request.path().starts_with(CLIENT) && app.is_some_and(|app| app.homeserver.is_some())
}

/// Where the request comes from: the address of the connection, or, when that is a trusted
/// proxy's, the last of `X-Forwarded-For` that isn't one.
fn client_address(request: &ServiceRequest) -> IpAddr {
    let peer = request.peer_addr().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.ip());
    let Some(app) = request.app_data::<Data<App>>() else { return peer };
    forwarded_for(peer, request.headers(), &app.config.server.trusted_proxies)
}

fn forwarded_for(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> IpAddr {
    let is_trusted = |ip: IpAddr| trusted.iter().any(|net| net.contains(&ip.to_canonical()));
    let mut client = peer.to_canonical();
    // The last header, and in it the last address, is what the nearest proxy added.
    let hops: Vec<&str> = headers
        .get_all("x-forwarded-for")
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .collect();
    for hop in hops.into_iter().rev() {
        if !is_trusted(client) {
            break;
        }
        let Ok(ip) = hop.trim().parse::<IpAddr>() else { break };
        client = ip.to_canonical();
    }
    client
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(peer: &str, forwarded: &[&'static str]) -> String {
        let mut headers = HeaderMap::new();
        for value in forwarded {
            headers.append(
                HeaderName::from_static("x-forwarded-for"),
                HeaderValue::from_static(value),
            );
        }
        let trusted = ["127.0.0.0/8".parse().unwrap(), "10.0.0.0/8".parse().unwrap()];
        forwarded_for(peer.parse().unwrap(), &headers, &trusted).to_string()
    }

    #[test]
    fn only_trusted_proxies_are_believed() {
        assert_eq!(client("192.0.2.1", &["198.51.100.1"]), "192.0.2.1");
        assert_eq!(client("127.0.0.1", &["198.51.100.1"]), "198.51.100.1");
        assert_eq!(client("::ffff:127.0.0.1", &["198.51.100.1"]), "198.51.100.1");
        assert_eq!(client("127.0.0.1", &[]), "127.0.0.1");
    }

    #[test]
    fn what_a_client_forges_before_the_proxies_is_not_believed() {
        assert_eq!(client("127.0.0.1", &["203.0.113.9, 198.51.100.1, 10.0.0.1"]), "198.51.100.1");
        assert_eq!(client("127.0.0.1", &["203.0.113.9", "198.51.100.1"]), "198.51.100.1");
        assert_eq!(client("127.0.0.1", &["198.51.100.1, nonsense"]), "127.0.0.1");
    }
}
