//! A thousand addresses at once.

use std::time::{Duration, Instant};

use crate::{
    homeserver::Reply,
    world::{Bindery, V2, World},
};

#[tokio::test]
async fn a_thousand_addresses_over_two_hundred_domains_are_answered_in_time() {
    let world = World::start().await;
    let mut peers: Vec<Bindery> = Vec::new();
    let mut slow = Vec::new();
    for number in 0..15 {
        let peer = world.bindery(&format!("d{number}.test"), "").await;
        for user in 0..2 {
            let address = format!("u{user}@d{number}.test");
            peer.bind("email", &address, &format!("@u{user}:d{number}.test")).await;
        }
        peers.push(peer);
    }
    for number in 15..20 {
        let peer = world.fake(&format!("d{number}.test")).await;
        peer.set_reply(&format!("{V2}/account/register"), Reply::Silence);
        slow.push(peer);
    }
    let a = world.bindery("a.test", "").await;
    let asked: Vec<String> =
        (0..1000).map(|n| format!("u{}@d{}.test email", n / 200, n % 200)).collect();
    let asked: Vec<&str> = asked.iter().map(String::as_str).collect();
    let began = Instant::now();
    let found = a.find(&asked).await;
    let took = began.elapsed();
    assert_eq!(found.len(), 30, "{took:?}");
    assert_eq!(found["u1@d7.test email"], "@u1:d7.test");
    assert!(took < Duration::from_millis(2500), "{took:?}");
    let lookups = || peers.iter().map(|peer| peer.count("/v2/lookup")).collect::<Vec<_>>();
    assert_eq!(lookups(), [1; 15]);
    // Once more, from memory.
    let queries = world.dns.queries().len();
    let began = Instant::now();
    assert_eq!(a.find(&asked).await, found);
    let again = began.elapsed();
    assert!(again < Duration::from_secs(1), "{again:?}");
    assert_eq!(lookups(), [1; 15]);
    assert!(slow.iter().all(|peer| peer.requests().len() == 1));
    assert_eq!(world.dns.queries().len(), queries);
}
