//! What a server on this machine can do at best: answers lookups from a set in memory, and does
//! nothing else. `benches/load/run` measures the server beside it; it is no part of the program.
//!
//! `reference PORT FILE`, where each line of the file is a hash and a user id.

use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hasher},
    io,
};

use actix_web::{
    App, HttpResponse, HttpServer,
    web::{Bytes, Data, PayloadConfig, get, post},
};
use serde::{Deserialize, Serialize};

/// A hash is uniformly random: its first characters need no hashing.
#[derive(Default)]
struct FirstBytes(u64);

impl Hasher for FirstBytes {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        if let Some(first) = bytes.first_chunk() {
            // Characters use few of their bits; the product spreads them (Knuth, TAOCP 3, 6.4).
            self.0 = u64::from_le_bytes(*first).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        }
    }

    fn write_usize(&mut self, _: usize) {}
}

/// User ids by the 43 characters of a hash.
type Known = HashMap<[u8; 43], String, BuildHasherDefault<FirstBytes>>;

#[derive(Deserialize)]
struct Lookup<'a> {
    #[serde(rename = "algorithm")]
    _algorithm: &'a str,
    #[serde(rename = "pepper")]
    _pepper: &'a str,
    #[serde(borrow)]
    addresses: Vec<&'a str>,
}

#[derive(Serialize)]
struct Mappings<'a> {
    mappings: HashMap<&'a str, &'a str>,
}

async fn lookup(known: Data<Known>, body: Bytes) -> HttpResponse {
    let Ok(request) = serde_json::from_slice::<Lookup<'_>>(&body) else {
        return HttpResponse::BadRequest().finish();
    };
    let found = request.addresses.into_iter().filter_map(|hash| {
        let mxid = known.get(hash.as_bytes().as_array()?)?;
        Some((hash, mxid.as_str()))
    });
    HttpResponse::Ok().json(Mappings { mappings: found.collect() })
}

async fn hash_details() -> HttpResponse {
    HttpResponse::Ok().json(serde_json::json!({ "lookup_pepper": "p", "algorithms": ["sha256"] }))
}

async fn bind(body: Bytes) -> HttpResponse {
    match serde_json::from_slice::<HashMap<&str, &str>>(&body) {
        Ok(fields) => HttpResponse::Ok().json(fields),
        Err(_) => HttpResponse::BadRequest().finish(),
    }
}

fn read(file: &str) -> io::Result<Known> {
    let text = std::fs::read_to_string(file)?;
    let line = |line: &str| {
        let (hash, mxid) = line.split_once(' ')?;
        Some((*hash.as_bytes().as_array()?, mxid.to_owned()))
    };
    Ok(text.lines().filter_map(line).collect())
}

#[actix_web::main]
async fn main() -> io::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let (Some(port), Some(file)) = (arguments.next(), arguments.next()) else {
        return Err(io::Error::other("usage: reference PORT FILE"));
    };
    let port: u16 = port.parse().map_err(io::Error::other)?;
    let known = Data::new(read(&file)?);
    let server = HttpServer::new(move || {
        App::new()
            .app_data(known.clone())
            .app_data(PayloadConfig::new(4 << 20))
            .route("/_matrix/identity/v2/hash_details", get().to(hash_details))
            .route("/_matrix/identity/v2/lookup", post().to(lookup))
            .route("/_matrix/identity/v2/3pid/bind", post().to(bind))
    });
    server.bind(("127.0.0.1", port))?.run().await
}
