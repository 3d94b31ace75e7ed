//! Whether the time that a refusal takes tells if an address is known: a measurement, not a test that
//! passes or fails, since it needs a quiet machine.
//!
//!     cargo test --all-features --test homeserver timing -- --ignored --nocapture
//!
//! `TIMING_TRIES` says how many tries there are of each kind.

use std::time::Instant;

use serde_json::{Value, json};

use crate::{
    api::Api,
    login::{GATEWAY, email, log_in},
    world::World,
};

const PAGE: &str = include_str!("../../docs/login.md");

/// People whose addresses are known, and as many that nobody has.
const PEOPLE: usize = 5;

/// Below this, chance alone would seldom make such a difference.
const SIGNIFICANT: f64 = 0.01;

#[tokio::test]
#[ignore = "it measures for some minutes, and says what it found"]
async fn refusals_of_known_and_unknown_addresses_take_the_same_time() {
    let tries = std::env::var("TIMING_TRIES").map_or(150, |tries| tries.parse().unwrap());
    let held = GATEWAY.replace("'100ms'", "'1s'");
    let by_user = |address: &str| {
        let (name, _) = address.split_once('@').unwrap();
        json!({ "type": "m.id.user", "user": name })
    };
    measure("by user id, which goes through as it is", &held, tries.min(100), by_user).await;
    measure("by address, refusal_time = 1s, the default", &held, tries, email).await;
}

async fn measure(title: &str, toml: &str, tries: usize, named: impl Fn(&str) -> Value) {
    // As many rounds as a Synapse has that nobody has changed.
    let world = World::of(toml, vec![("bcrypt_rounds", json!(12))]).await;
    for number in 0..PEOPLE {
        let person = world.person(&format!("known{number}")).await;
        person.own(&format!("known{number}@people.test")).await;
    }
    let proxy = world.nginx(PAGE).await;
    let api = world.api_at(&format!("{}/_matrix/client/v3", proxy.base));
    let (mut known, mut unknown) = (Vec::new(), Vec::new());
    for index in 0..tries + PEOPLE {
        let number = index % PEOPLE;
        let addresses =
            [format!("known{number}@people.test"), format!("nobody{number}@people.test")];
        // In an order of chance: what the one leaves behind must not always meet the other.
        let first = usize::from(rand::random::<bool>());
        for which in [first, 1 - first] {
            let took = refused_in(&api, named(&addresses[which])).await;
            // The first ones warm caches.
            if index >= PEOPLE {
                if which == 0 { known.push(took) } else { unknown.push(took) }
            }
        }
    }
    report(title, &mut known, &mut unknown);
}

/// How long a refusal takes, in milliseconds.
async fn refused_in(api: &Api, identifier: Value) -> f64 {
    let started = Instant::now();
    log_in(api, identifier, "wrong").await.refused(403, "M_FORBIDDEN");
    started.elapsed().as_secs_f64() * 1000.0
}

fn report(title: &str, known: &mut [f64], unknown: &mut [f64]) {
    println!("{title}: {} tries of each kind, in milliseconds", known.len());
    for (name, times) in [("known, wrong password", &mut *known), ("unknown", &mut *unknown)] {
        times.sort_by(f64::total_cmp);
        let at = |part: f64| times[as_index(part * as_float(times.len() - 1))];
        let mean = times.iter().sum::<f64>() / as_float(times.len());
        println!(
            "  {name:22} mean {mean:8.2}  min {:8.2}  25% {:8.2}  50% {:8.2}  75% {:8.2}  95% {:8.2}  max {:8.2}",
            at(0.0),
            at(0.25),
            at(0.5),
            at(0.75),
            at(0.95),
            at(1.0),
        );
    }
    let (z, p) = mann_whitney(known, unknown);
    println!("  Mann-Whitney: z = {z:.2}, p = {p:.4}: {}", verdict(p));
    let (d, p) = kolmogorov_smirnov(known, unknown);
    println!("  Kolmogorov-Smirnov: D = {d:.3}, p = {p:.4}: {}", verdict(p));
}

fn verdict(p: f64) -> &'static str {
    if p < SIGNIFICANT { "they can be told apart" } else { "they can't be told apart" }
}

/// Whether one of two sorted samples tends to be larger: the standardised U, and how probable it is
/// that chance makes so much of a difference.
fn mann_whitney(one: &[f64], other: &[f64]) -> (f64, f64) {
    let (n, m) = (as_float(one.len()), as_float(other.len()));
    let wins: f64 = one
        .iter()
        .flat_map(|a| other.iter().map(move |b| a.total_cmp(b)))
        .map(|order| match order {
            std::cmp::Ordering::Greater => 1.0,
            std::cmp::Ordering::Equal => 0.5,
            std::cmp::Ordering::Less => 0.0,
        })
        .sum();
    let z = (wins - n * m / 2.0) / (n * m * (n + m + 1.0) / 12.0).sqrt();
    (z, two_sided(z))
}

/// The probability that a standard normal is at least so far from zero, by formula 26.2.17 of
/// Abramowitz and Stegun.
fn two_sided(z: f64) -> f64 {
    let z = z.abs();
    let t = 1.0 / (1.0 + 0.231_641_9 * z);
    let coefficients =
        [0.319_381_530, -0.356_563_782, 1.781_477_937, -1.821_255_978, 1.330_274_429];
    let sum = coefficients.iter().rev().fold(0.0, |sum, c| (sum + c) * t);
    (2.0 * sum * (-z * z / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt()).min(1.0)
}

/// The largest distance between the distributions of two sorted samples, and how probable it is
/// that chance makes it as large.
fn kolmogorov_smirnov(one: &[f64], other: &[f64]) -> (f64, f64) {
    let below = |times: &[f64], limit: f64| {
        as_float(times.partition_point(|time| *time <= limit)) / as_float(times.len())
    };
    let distances = one.iter().chain(other).map(|at| (below(one, *at) - below(other, *at)).abs());
    let d = distances.fold(0.0, f64::max);
    let (n, m) = (as_float(one.len()), as_float(other.len()));
    let root = (n * m / (n + m)).sqrt();
    let lambda = (root + 0.12 + 0.11 / root) * d;
    let term = |k: f64| 2.0 * (-2.0 * (k * lambda).powi(2)).exp();
    let sum: f64 =
        (1..100_u32).map(|k| if k % 2 == 1 { term(k.into()) } else { -term(k.into()) }).sum();
    (d, sum.clamp(0.0, 1.0))
}

fn as_float(count: usize) -> f64 {
    u32::try_from(count).unwrap().into()
}

/// The whole number below, of one that is small and not negative.
fn as_index(number: f64) -> usize {
    (0..100_000_usize).take_while(|index| as_float(*index) <= number).last().unwrap()
}

#[test]
fn the_statistics_know_what_is_the_same_and_what_is_not() {
    let even: Vec<f64> = (0..200).map(|n| f64::from(2 * n)).collect();
    let odd: Vec<f64> = (0..200).map(|n| f64::from(2 * n + 1)).collect();
    let later: Vec<f64> = even.iter().map(|n| n + 80.0).collect();
    assert!(mann_whitney(&even, &odd).1 > 0.5 && kolmogorov_smirnov(&even, &odd).1 > 0.5);
    assert!(mann_whitney(&even, &later).1 < 0.001 && kolmogorov_smirnov(&even, &later).1 < 0.001);
    assert!((two_sided(1.96) - 0.05).abs() < 0.001);
}
