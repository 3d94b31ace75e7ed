//! Ten thousand people, and the real program.

use std::{fs, time::Instant};

use bindery::{config::Config, matrix::threepid::ThreePid, store::Store};
use reqwest::Client;

use crate::{
    bindery::{Asker, settings, token},
    database::TestDatabase,
    process::{Process, eventually, free_port},
    slapd::person,
    world::World,
};

const PEOPLE: usize = 10_000;

/// In one lookup.
const ADDRESSES_AT_ONCE: usize = 5000;

/// In megabytes: what the program may have needed at the most.
const MOST_MEMORY: usize = 200;

/// Someone with two addresses and two numbers, one of them as it is dialled in the country.
fn one_of_many(i: usize) -> String {
    let (first, second) = (format!("P{i}@Example.org"), format!("p.{i}@mail.example.org"));
    let (national, abroad) = (format!("07700 {:06}", 900_000 + i), format!("+44 7911 1{i:05}"));
    let attributes = [
        ("displayName", "One of Many"),
        ("mail", &first),
        ("mail", &second),
        ("telephoneNumber", &national),
        ("mobile", &abroad),
    ];
    person(&format!("p{i}"), &attributes)
}

fn addresses(i: usize) -> [ThreePid; 4] {
    [
        ThreePid::email(&format!("p{i}@example.org")).unwrap(),
        ThreePid::email(&format!("p.{i}@mail.example.org")).unwrap(),
        ThreePid::msisdn(&format!("447700{:06}", 900_000 + i)).unwrap(),
        ThreePid::msisdn(&format!("4479111{i:05}")).unwrap(),
    ]
}

#[tokio::test]
async fn ten_thousand_people_are_found_by_each_of_their_addresses() {
    let start = Instant::now();
    let people: String = (0..PEOPLE).map(one_of_many).collect();
    let mut world = World::with(&people).await;
    println!("slapd has {PEOPLE} people after {:?}", start.elapsed());

    let start = Instant::now();
    let (mut server, asker) = serve(&world).await;
    println!("the program is there, {}", server.memory());
    let last = addresses(PEOPLE - 1);
    eventually("all people are copied", async || {
        (asker.by_hash(&last[..1]).await.len() == 1).then_some(())
    })
    .await;
    println!("copied after {:?}, {}", start.elapsed(), server.memory());

    let start = Instant::now();
    let all: Vec<_> = (0..PEOPLE).flat_map(|i| addresses(i).map(|it| (it, i))).collect();
    for batch in all.chunks(ADDRESSES_AT_ONCE) {
        let wanted: Vec<_> = batch.iter().map(|(threepid, _)| threepid.clone()).collect();
        let found = asker.by_hash(&wanted).await;
        for (threepid, i) in batch {
            let mxid = format!("@p{i}:example.org");
            assert_eq!(found.get(threepid.address()), Some(&mxid), "{}", threepid.address());
        }
    }
    println!("{} addresses found after {:?}, {}", all.len(), start.elapsed(), server.memory());
    assert!(server.peak() < MOST_MEMORY, "{}", server.memory());

    world.slapd.stop().await;
    // A lookup in plain asks the directory, which is away, and finds the copy.
    assert_eq!(asker.owner_in_plain("p1@example.org").await.unwrap(), "@p1:example.org");
    assert_eq!(asker.owner("p1@example.org").await.unwrap(), "@p1:example.org");
    let log = server.log();
    let said = log.lines().filter(|line| line.contains("the directory fails")).collect::<Vec<_>>();
    let [line] = said.as_slice() else { panic!("{log}") };
    assert!(line.contains("directory=\"staff\"") && line.contains("can't be reached"), "{line}");
    assert!(!log.contains("p1@") && !log.contains(crate::slapd::PASSWORD), "{log}");
}

/// The program, on a database of its own, and somebody who may ask it.
async fn serve(world: &World) -> (Program, Asker) {
    let database = TestDatabase::new();
    let base = format!("http://127.0.0.1:{}", free_port());
    let listen = base.trim_start_matches("http://");
    let toml = format!(
        "server.listen = ['{listen}']\nserver.base_url = '{base}'\n{}",
        settings(world, &database.url)
    );
    let file = database.folder.path().join("bindery.toml");
    fs::write(&file, &toml).unwrap();
    let log = database.folder.path().join("log");
    let mut process = Process::start(
        "bindery",
        env!("CARGO_BIN_EXE_bindery").as_ref(),
        &["serve".as_ref(), "--config".as_ref(), file.as_os_str()],
        &[],
        log.clone(),
    );
    let http = Client::builder().build().unwrap();
    process.until(async || http.get(&base).send().await.is_ok()).await;
    let config = Config::from_toml(&toml).unwrap();
    let token = token(&Store::open(&config.database).unwrap()).await;
    (Program { process, log, _database: database }, Asker { http, base, token })
}

struct Program {
    process: Process,
    log: std::path::PathBuf,
    _database: TestDatabase,
}

impl Program {
    fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    /// What it needs and has needed, in words of the kernel.
    fn memory(&mut self) -> String {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let lines =
            status.lines().filter(|line| line.starts_with("VmHWM") || line.starts_with("VmRSS"));
        lines.collect::<Vec<_>>().join(", ")
    }

    /// The most memory that it has needed, in megabytes.
    fn peak(&mut self) -> usize {
        let memory = self.memory();
        let (_, peak) = memory.split_once("VmHWM:").unwrap();
        peak.split_whitespace().next().unwrap().parse::<usize>().unwrap() / 1024
    }
}
