//! Where neighbours push their associations to: a server of its own, which knows who comes by
//! their certificates.

use std::{any::Any, collections::HashMap, io, net::TcpListener};

use actix_tls::accept::rustls_0_23::TlsStream;
use actix_web::{
    App as Actix, HttpRequest, HttpServer,
    dev::{Extensions, Server},
    rt::net::TcpStream,
    web::{Data, Json},
};
use rustls::ServerConfig;
use serde::Deserialize;
use serde_json::{Value, json, value::RawValue};

use super::{error::ApiError, extract::Body};
use crate::{
    app::App,
    mutual_tls::common_name,
    service::replication::{self, Sent},
};

/// The largest push, in bytes: a hundred associations, with which a Sydent may send anything.
const PUSH_LIMIT: usize = 16 * 1024 * 1024;

/// Serves neighbours at `listeners`, where `tls` has to ask for certificates.
///
/// # Errors
/// When a listener can't be used.
pub fn serve_neighbours(
    app: &Data<App>,
    listeners: Vec<TcpListener>,
    tls: &ServerConfig,
) -> io::Result<Server> {
    let shared = app.clone();
    let mut server = HttpServer::new(move || {
        Actix::new().app_data(shared.clone()).configure(super::neighbour_routes)
    })
    .workers(1)
    .shutdown_timeout(8)
    .disable_signals()
    .on_connect(remember_name);
    for listener in listeners {
        server = server.listen_rustls_0_23(listener, tls.clone())?;
    }
    Ok(server.run())
}

/// The common name of the certificate that the other side of a connection has shown.
#[derive(Clone)]
struct PeerName(String);

fn remember_name(connection: &dyn Any, data: &mut Extensions) {
    let name = connection.downcast_ref::<TlsStream<TcpStream>>().and_then(|stream| {
        let (_, session) = stream.get_ref();
        session.peer_certificates()?.first().and_then(common_name)
    });
    if let Some(name) = name {
        data.insert(PeerName(name));
    }
}

/// The body of a push. What is in it is looked at piece by piece, since one bad piece must not
/// keep the others out.
#[derive(Deserialize)]
struct Push {
    #[serde(rename = "sgAssocs")]
    associations: HashMap<String, Box<RawValue>>,
}

/// `POST /_matrix/identity/replicate/v1/push`, in Sydent's format
///
/// A neighbour hears of success whatever it sends: it would send the same again, for ever.
pub(super) async fn push(
    app: Data<App>,
    request: HttpRequest,
    body: Body<PUSH_LIMIT>,
) -> Result<Json<Value>, ApiError> {
    let name = request.conn_data::<PeerName>().map(|PeerName(name)| name.as_str());
    let known = &app.config.peers.replicate;
    let neighbour = known.iter().find(|neighbour| Some(neighbour.name.as_str()) == name);
    let Some(neighbour) = neighbour else {
        tracing::warn!(name, "somebody who is no neighbour has come to replicate");
        return Err(ApiError::UnknownPeer);
    };
    let bytes = body.bytes()?;
    match serde_json::from_slice::<Push>(&bytes) {
        Ok(Push { associations }) => {
            let sent = associations.into_iter().map(|(id, association)| Sent { id, association });
            replication::take(&app, neighbour, &sent.collect::<Vec<_>>()).await?;
        }
        Err(_) => replication::take_unreadable(&app, neighbour, &bytes).await?,
    }
    Ok(Json(json!({ "success": true })))
}
