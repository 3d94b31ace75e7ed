//! The route table: every path of the server on one screen.

mod account;
mod association;
mod credentials;
mod edge;
mod error;
mod extract;
mod fields;
mod invite;
mod login;
mod lookup;
mod openid;
mod page;
mod public;
mod replication;
mod session;
mod through;
mod user_directory;
mod v1;
mod well_known;

use std::future::ready;

use actix_web::{
    Resource, Route,
    guard::{GuardContext, fn_guard},
    http::Method,
    middleware::from_fn,
    web::{self, ServiceConfig},
};

use self::error::ApiError;
pub use self::{credentials::serve_credentials, replication::serve_neighbours};

/// Adds all paths, for a server whose application data holds the [`crate::app::App`].
pub fn routes(config: &mut ServiceConfig) {
    let get = || web::method(Method::GET);
    let post = || web::method(Method::POST);
    config.service(
        web::scope("")
            .wrap(from_fn(edge::edge))
            // First, because routes are tried in their order, and these are asked for most.
            .service(at(lookup::LOOKUP, "POST", [post().to(lookup::lookup)]))
            .service(at(lookup::HASH_DETAILS, "GET", [get().to(lookup::hash_details)]))
            .service(at("/", "GET", [get().to(page::front)]))
            .service(at("/health/live", "GET", [get().to(public::live)]))
            .service(at("/health/ready", "GET", [get().to(public::ready)]))
            .service(at("/metrics", "GET", [get().to(public::metrics)]))
            .service(at("/.well-known/matrix/server", "GET", [get().to(well_known::server)]))
            .service(
                at("/.well-known/matrix/client", "GET", [get().to(well_known::client)])
                    .guard(fn_guard(well_known::is_on)),
            )
            .service(at(
                "/_matrix/federation/v1/openid/userinfo",
                "GET",
                [get().to(openid::userinfo)],
            ))
            .service(at(v("/versions"), "GET", [get().to(public::versions)]))
            .service(at(v("/v2"), "GET", [get().to(public::ping)]))
            .service(at(v("/v2/account/register"), "POST", [post().to(account::register)]))
            .service(at(v("/v2/account"), "GET", [get().to(account::account)]))
            .service(at(v("/v2/account/logout"), "POST", [post().to(account::logout)]))
            .service(at(
                v("/v2/terms"),
                "GET, POST",
                [get().to(account::terms), post().to(account::accept_terms)],
            ))
            .service(at(v("/v2/pubkey/ephemeral/isvalid"), "GET", [get().to(invite::is_valid)]))
            .service(at(v("/v2/pubkey/isvalid"), "GET", [get().to(public::is_valid)]))
            .service(at(v("/v2/pubkey/{keyId}"), "GET", [get().to(public::public_key)]))
            .configure(|config| validations(config, &v("/v2"), |_| true))
            .configure(|config| validations(config, extract::V1, session::is_v1_on))
            .service(
                at(v("/v2/validate/{medium}/confirmToken"), "POST", [post().to(page::confirm)])
                    .guard(fn_guard(session::is_served)),
            )
            .service(at(extract::V1, "GET", [get().to(public::ping)]).guard(fn_guard(v1::is_on)))
            .configure(v1_lookups)
            .service(at(v("/v2/3pid/bind"), "POST", [post().to(association::bind)]))
            .service(at(v("/v2/3pid/unbind"), "POST", [post().to(association::unbind)]))
            .configure(homeserver_paths)
            .service(at(v("/v2/store-invite"), "POST", [post().to(invite::store_invite)]))
            .service(at(v("/v2/sign-ed25519"), "POST", [post().to(invite::sign)]))
            .service(
                at(CHECK_CREDENTIALS, "POST", [post().to(credentials::check)])
                    .guard(fn_guard(credentials::is_public)),
            )
            .default_service(web::to(|| ready(Err::<&str, _>(ApiError::UnknownEndpoint)))),
    );
}

/// Where a homeserver asks whether a password is right.
const CHECK_CREDENTIALS: &str = "/_matrix-internal/identity/v1/check_credentials";

/// Adds the path of a server that answers only whether passwords are right.
fn credential_routes(config: &mut ServiceConfig) {
    let post = || web::method(Method::POST);
    config.service(
        web::scope("")
            .wrap(from_fn(edge::edge))
            .service(at(CHECK_CREDENTIALS, "POST", [post().to(credentials::check)]))
            .default_service(web::to(|| ready(Err::<&str, _>(ApiError::UnknownEndpoint)))),
    );
}

/// Adds the paths that neighbours have, for a server that knows them by their certificates.
fn neighbour_routes(config: &mut ServiceConfig) {
    let post = || web::method(Method::POST);
    config.service(
        web::scope("")
            .wrap(from_fn(edge::edge))
            .service(at(v("/replicate/v1/push"), "POST", [post().to(replication::push)]))
            .default_service(web::to(|| ready(Err::<&str, _>(ApiError::UnknownEndpoint)))),
    );
}

/// The paths of validations below `prefix`, which are there where `is_on` says so.
fn validations(
    config: &mut ServiceConfig,
    prefix: &str,
    is_on: impl Fn(&GuardContext<'_>) -> bool + Copy + 'static,
) {
    let served = move |context: &GuardContext<'_>| is_on(context) && session::is_served(context);
    let of_medium = |path: &str| format!("{prefix}/validate/{{medium}}/{path}");
    let get = || web::method(Method::GET);
    let post = || web::method(Method::POST);
    config
        .service(
            at(of_medium("requestToken"), "POST", [post().to(session::request_token)])
                .guard(fn_guard(served)),
        )
        .service(
            at(
                of_medium("submitToken"),
                "GET, POST",
                [get().to(page::open_link), post().to(session::submit_token)],
            )
            .guard(fn_guard(served)),
        )
        .service(
            at(
                format!("{prefix}/3pid/getValidated3pid"),
                "GET",
                [get().to(session::get_validated)],
            )
            .guard(fn_guard(is_on)),
        );
}

/// Lookups and public keys by API v1, which are there where they are switched on.
fn v1_lookups(config: &mut ServiceConfig) {
    let get = || web::method(Method::GET);
    let post = || web::method(Method::POST);
    let v1 = |path: &str| format!("{}{path}", extract::V1);
    let lookups = [
        at(v1("/pubkey/ephemeral/isvalid"), "GET", [get().to(invite::is_valid)]),
        at(v1("/pubkey/isvalid"), "GET", [get().to(public::is_valid)]),
        at(v1("/pubkey/{keyId}"), "GET", [get().to(public::public_key)]),
        at(v1("/lookup"), "GET", [get().to(v1::lookup)]),
        at(v1("/bulk_lookup"), "POST", [post().to(v1::bulk_lookup)]),
    ];
    for lookup in lookups {
        config.service(lookup.guard(fn_guard(v1::is_lookup_on)));
    }
}

/// The paths of the homeserver that stands behind this server, if one does: with all their methods,
/// since all of them are its own to answer.
fn homeserver_paths(config: &mut ServiceConfig) {
    let post = || web::method(Method::POST);
    let path = |rest: &str| format!("{}{rest}", through::CLIENT);
    let through = || web::to(through::through);
    config
        .service(
            web::resource(path("{version:r0|v3|unstable}/login"))
                .guard(fn_guard(through::is_on))
                .route(post().to(login::login))
                .default_service(through()),
        )
        .service(
            web::resource(path("{version:r0|v3|unstable}/user_directory/search"))
                .guard(fn_guard(user_directory::is_on))
                .route(post().to(user_directory::search))
                .default_service(through()),
        )
        .service(
            web::resource(path("{rest:.*}"))
                .guard(fn_guard(through::is_on))
                .default_service(through()),
        );
}

/// A path of the identity service API.
fn v(path: &str) -> String {
    format!("/_matrix/identity{path}")
}

/// One path with its methods; any other method is refused as the API wants it.
fn at<const N: usize>(
    path: impl Into<String>,
    allowed: &'static str,
    routes: [Route; N],
) -> Resource {
    let resource = web::resource(path.into()).default_service(web::to(move || {
        ready(Err::<&str, _>(ApiError::MethodNotAllowed(allowed)))
    }));
    routes.into_iter().fold(resource, Resource::route)
}
