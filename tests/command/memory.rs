//! How much memory a server takes that looks many addresses up at peers.

use std::{fs, time::Instant};

use serde_json::json;

use crate::{
    homeserver::{FakeHomeserver, Reply},
    peers_together::World,
};

const V2: &str = "/_matrix/identity/v2";

/// How many addresses one lookup holds.
const ADDRESSES: usize = 10_000;

/// How many domains they are of, and of how many of these there is an identity server.
const DOMAINS: (usize, usize) = (200, 20);

/// Lookups until more answers have come than are remembered at most, and those after that.
const LOOKUPS: (usize, usize) = (22, 20);

/// What a process has in memory, in MiB.
fn resident(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024
}

async fn peer(world: &World, domain: &str) -> FakeHomeserver {
    let host = format!("is.{domain}");
    let peer = FakeHomeserver::start(&world.ca, &[&host]).await;
    let details = json!({ "lookup_pepper": "pepper", "algorithms": ["sha256"] });
    for (path, body) in [
        ("/account/register", json!({ "token": "secret" })),
        ("/hash_details", details),
        ("/lookup", json!({ "mappings": {} })),
    ] {
        peer.set_reply(&format!("{V2}{path}"), Reply::new(200, body.to_string()));
    }
    world.dns.host(&host, &["127.0.0.1"]);
    let service = format!("_matrix-identity._tcp.{domain}");
    world.dns.service(&service, &[(0, 0, peer.address().port(), &host)]);
    peer
}

#[expect(clippy::print_stdout, reason = "how much it is belongs to what it shows")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_is_bounded_however_many_addresses_are_looked_up() {
    let world = World::start().await;
    let mut peers = Vec::new();
    for number in 0..DOMAINS.1 {
        peers.push(peer(&world, &format!("d{number}.test")).await);
    }
    let server = world.serve("is.a.test", "").await;
    let alice = server.person("@alice:a.test");
    let details = alice.get(&format!("{V2}/hash_details")).await.ok();
    let pid = server.process.pid();
    let (started, mut sizes) = (Instant::now(), vec![resident(pid)]);
    for lookup in 0..LOOKUPS.0 + LOOKUPS.1 {
        let address = |n: usize| format!("user{lookup}-{n}@d{}.test email", n % DOMAINS.0);
        let addresses: Vec<String> = (0..ADDRESSES).map(address).collect();
        let body = json!({ "algorithm": "none", "pepper": details["lookup_pepper"],
            "addresses": addresses });
        assert_eq!(alice.post("/lookup", &body).await.ok(), json!({ "mappings": {} }));
        sizes.push(resident(pid));
    }
    println!("resident, in MiB, after each lookup: {sizes:?}; {:?}", started.elapsed());
    let (full, last) = (sizes[LOOKUPS.0], sizes[LOOKUPS.0 + LOOKUPS.1]);
    assert!(last < 256, "{sizes:?}");
    // What is remembered is full by then.
    assert!(last < full + 48, "{sizes:?}");
    assert!(peers.iter().all(|peer| peer.requests().len() >= LOOKUPS.0));
}
