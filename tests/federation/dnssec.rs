//! Answers of a zone that is signed, by a name server of its own.

use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use bindery::federation::FederationError;
use hickory_server::{
    Server,
    dnssec::NxProofKind,
    net::runtime::TokioRuntimeProvider,
    proto::{
        dnssec::{DnssecSigner, PublicKey, SigningKey, crypto::Ed25519SigningKey, rdata::DNSKEY},
        rr::{
            Name, RData, Record,
            rdata::{SOA, SRV},
        },
    },
    store::in_memory::InMemoryZoneHandler,
    zone_handler::{AxfrPolicy, Catalog, ZoneType},
};
use tokio::net::{TcpListener, UdpSocket};

use crate::World;

type Zone = InMemoryZoneHandler<TokioRuntimeProvider>;

/// A zone of the test's own, signed: that of the top level domain `test`.
struct Signed {
    address: SocketAddr,
    folder: tempfile::TempDir,
    _server: Server<Catalog>,
}

fn name(text: &str) -> Name {
    let mut name = Name::from_ascii(text).unwrap();
    name.set_fqdn(true);
    name
}

fn service(domain: &str, host: &str) -> Record {
    let target = RData::SRV(SRV::new(0, 0, 8448, name(host)));
    Record::from_rdata(name(&format!("_matrix-identity._tcp.{domain}")), 3600, target)
}

fn host(text: &str) -> Record {
    Record::from_rdata(name(text), 3600, RData::A(std::net::Ipv4Addr::new(192, 0, 2, 1).into()))
}

/// A key, and the record that says it.
fn new_key() -> (Ed25519SigningKey, String) {
    let pkcs8 = Ed25519SigningKey::generate_pkcs8().unwrap();
    let key = Ed25519SigningKey::from_pkcs8(&pkcs8).unwrap();
    let public =
        bindery::matrix::signing::encode_base64(key.to_public_key().unwrap().public_bytes());
    // Algorithm 15 is Ed25519; zone files want the padding.
    let padding = "=".repeat((4 - public.len() % 4) % 4);
    (key, format!("test. 3600 IN DNSKEY 257 3 15 {public}{padding}\n"))
}

impl Signed {
    /// Serves records that are signed, and others that are not.
    async fn start(unsigned: &[Record]) -> Self {
        let origin = name("test");
        let proofs = Some(NxProofKind::Nsec);
        let mut zone = Zone::empty(origin.clone(), ZoneType::Primary, AxfrPolicy::Deny, proofs);
        let soa = SOA::new(name("ns.test"), name("admin.test"), 1, 3600, 60, 86400, 60);
        zone.upsert_mut(Record::from_rdata(origin.clone(), 3600, RData::SOA(soa)), 0);
        for record in [service("org.test", "is.test"), host("is.test")] {
            assert!(zone.upsert_mut(record, 0));
        }
        let (key, anchor) = new_key();
        let dnskey = DNSKEY::from_key(&key.to_public_key().unwrap());
        let lifetime = Duration::from_hours(24);
        zone.add_zone_signing_key_mut(DnssecSigner::new(
            dnskey,
            Box::new(key),
            origin.clone(),
            lifetime,
        ))
        .unwrap();
        zone.secure_zone_mut().unwrap();
        for record in unsigned {
            assert!(zone.upsert_mut(record.clone(), 0));
        }
        let mut catalog = Catalog::new();
        catalog.upsert(origin.into(), vec![Arc::new(zone)]);
        let (server, address) = serve(catalog).await;
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("anchors"), anchor).unwrap();
        Self { address, folder, _server: server }
    }

    fn anchors(&self) -> PathBuf {
        self.folder.path().join("anchors")
    }

    /// A server that asks about this zone and trusts the keys in its file.
    async fn world(&self) -> World {
        World::configured(|config| {
            config.dns.nameservers = vec![self.address];
            config.dns.dnssec = true;
            config.dns.trust_anchor_file = Some(self.anchors());
        })
        .await
    }
}

async fn serve(catalog: Catalog) -> (Server<Catalog>, SocketAddr) {
    let (tcp, udp) = loop {
        let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
        if let Ok(udp) = UdpSocket::bind(tcp.local_addr().unwrap()).await {
            break (tcp, udp);
        }
    };
    let address = tcp.local_addr().unwrap();
    let mut server = Server::new(catalog);
    server.register_socket(udp);
    server.register_listener(tcp, Duration::from_secs(5), 16);
    (server, address)
}

#[tokio::test]
async fn what_a_trusted_key_vouches_for_is_believed() {
    let zone = Signed::start(&[]).await;
    let world = zone.world().await;
    let peers = world.federation.identity_server("org.test").await.unwrap();
    assert!(format!("{peers:?}").contains("https://is.test:8448"), "{peers:?}");
    // That there is nothing is proved as well; by one record, as hickory-server sends no second one
    // about `*.test`.
    let nothing = world.federation.identity_server("absent.test").await.unwrap();
    assert_eq!(format!("{nothing:?}"), "Nothing");
}

#[tokio::test]
async fn what_is_not_signed_in_a_signed_zone_is_refused() {
    let zone = Signed::start(&[service("forged.test", "is.test")]).await;
    let world = zone.world().await;
    let failed = world.federation.identity_server("forged.test").await.unwrap_err();
    assert!(matches!(failed, FederationError::Dns { .. }), "{failed:?}");
}

#[tokio::test]
async fn what_another_key_has_signed_is_refused() {
    let zone = Signed::start(&[]).await;
    std::fs::write(zone.anchors(), new_key().1).unwrap();
    let world = zone.world().await;
    let failed = world.federation.identity_server("org.test").await.unwrap_err();
    assert!(matches!(failed, FederationError::Dns { .. }), "{failed:?}");
}
