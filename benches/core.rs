//! The work that is done for each hash, signature and address.

use std::hint::black_box;

use bindery::matrix::{
    id::ServerName,
    json::{self, Object},
    signing::{self, SigningKey},
    threepid::{self, ThreePid},
};
use criterion::{Criterion, criterion_group, criterion_main};

const PEPPER: &str = "matrixrocksmatrixrocksmatrixrock";

fn association() -> Object {
    let fields = [
        ("address", "louise@bobs.burgers".into()),
        ("medium", "email".into()),
        ("mxid", "@ears:example.org".into()),
        ("not_after", 4_582_425_849_161_i64.into()),
        ("not_before", 1_428_825_849_161_i64.into()),
        ("ts", 1_428_825_849_161_i64.into()),
    ];
    fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

fn canonical_json(criterion: &mut Criterion) {
    let object = association();
    criterion.bench_function("canonical JSON of an association", |bench| {
        bench.iter(|| json::canonical(black_box(&object)));
    });
}

fn signatures(criterion: &mut Criterion) {
    let key = SigningKey::generate();
    let Ok(name) = "id.example.org".parse::<ServerName>() else { return };
    criterion.bench_function("sign an association", |bench| {
        bench.iter_batched(
            association,
            |mut object| key.sign(&name, &mut object),
            criterion::BatchSize::SmallInput,
        );
    });
    let mut signed = association();
    if key.sign(&name, &mut signed).is_err() {
        return;
    }
    criterion.bench_function("verify an association", |bench| {
        bench.iter(|| signing::verifies(black_box(&signed), &name, &key.id(), &key.public()));
    });
}

fn addresses(criterion: &mut Criterion) {
    for (what, address) in
        [("an ASCII address", "Alice@Example.org"), ("a German one", "Strauß@Bücher.example")]
    {
        criterion.bench_function(&format!("canonical form of {what}"), |bench| {
            bench.iter(|| ThreePid::email(black_box(address)));
        });
    }
}

fn hashes(criterion: &mut Criterion) {
    criterion.bench_function("hash an address", |bench| {
        bench.iter(|| threepid::lookup_hash(black_box("alice@example.org"), "email", PEPPER));
    });
    let hash = threepid::lookup_hash("alice@example.org", "email", PEPPER);
    let text = threepid::encode_hash(&hash);
    criterion.bench_function("decode a hash", |bench| {
        bench.iter(|| threepid::decode_hash(black_box(&text)));
    });
}

criterion_group!(benches, canonical_json, signatures, addresses, hashes);
criterion_main!(benches);
