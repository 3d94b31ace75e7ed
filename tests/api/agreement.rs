//! Whatever stands in the database, a server that keeps lookups in memory answers as one that doesn't:
//! what was bound here goes first, then the directories in their order, then neighbours.

use std::{fmt::Write, time::Duration};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

use crate::{
    directories::FakeProgram,
    directory::{BASE, at},
    harness::{Caller, PUBLIC_KEY, START_MS, TestApp, hash},
};

/// As many as there are cases.
const ADDRESSES: usize = 5 * 3 * 2 * 4 * 2 * 2;

/// When some of what was bound here ends, and other begins.
const SOON: Duration = Duration::from_secs(5);

const FOR_EVER: i64 = START_MS + 100 * 365 * 24 * 3600 * 1000;

/// What is said of an address.
struct Case {
    /// From when to when it is bound here.
    own: Option<(i64, i64)>,
    /// How many have it in the first directory.
    first: usize,
    /// Whether somebody has it in the second directory.
    second: bool,
    /// What a neighbour says.
    near: Said,
    /// Whether another neighbour says later that it is somebody else's.
    far: bool,
    /// Whether a former directory and a former neighbour say something.
    former: bool,
}

/// What a neighbour says of an address.
#[derive(Clone, Copy)]
enum Said {
    Nothing,
    /// That it is somebody's until then.
    Bound(i64),
    Unbound,
}

impl Case {
    fn number(mut number: usize) -> Self {
        let mut of = |count: usize| {
            let digit = number % count;
            number /= count;
            digit
        };
        let soon = START_MS + i64::try_from(SOON.as_millis()).unwrap();
        let owns = [
            None,
            Some((START_MS, FOR_EVER)),
            Some((START_MS, soon)),
            Some((START_MS, START_MS)),
            Some((soon, FOR_EVER)),
        ];
        let near = [Said::Nothing, Said::Bound(FOR_EVER), Said::Bound(soon), Said::Unbound];
        Self {
            own: owns[of(5)],
            first: of(3),
            second: of(2) == 1,
            near: near[of(4)],
            far: of(2) == 1,
            former: of(2) == 1,
        }
    }

    /// Who is found at this time.
    fn expected(&self, now_ms: i64) -> Option<String> {
        let name = if self.own.is_some_and(|(from, until)| from <= now_ms && now_ms < until) {
            "own"
        } else if self.first == 1 {
            "west0"
        } else if self.second {
            "east0"
        } else if self.far {
            "far"
        } else if matches!(self.near, Said::Bound(until) if now_ms < until) {
            "near"
        } else {
            return None;
        };
        Some(at(name))
    }
}

/// What stands in the database, and the servers on it.
struct World {
    with: TestApp,
    without: TestApp,
    configuration: String,
    addresses: Vec<String>,
    cases: Vec<Case>,
    pepper: String,
    generation: i64,
    token: String,
    _programs: [FakeProgram; 2],
}

impl World {
    async fn start() -> Self {
        let programs = [FakeProgram::new(), FakeProgram::new()];
        let neighbour = |name: &str| {
            format!("[[peers.replicate]]\nname = '{name}'\nkeys = ['ed25519:1 {PUBLIC_KEY}']\n")
        };
        // The order is that of the configuration, not of the names.
        let configuration = format!(
            "{BASE}peers.discover = false\nlookup.index = true\n{}{}{}{}",
            programs[0].toml("west", ""),
            programs[1].toml("east", ""),
            neighbour("near.test"),
            neighbour("far.test"),
        );
        let with = TestApp::with(&configuration).await;
        let off = configuration.replace("lookup.index = true", "lookup.index = false");
        let without = with.beside(&off).await;
        let alice = with.account("@alice:hs.example").await;
        let details = alice.get("/hash_details").await.ok();
        with.database.execute(
            "INSERT INTO directory_syncs (directory, settings, generation, last_generation, \
             addresses, attempts, retry_at, node, node_until) VALUES \
             ('west', '', 0, 0, 0, 0, 0, '', 0), ('east', '', 1, 1, 0, 0, 0, '', 0), \
             ('former', '', 1, 1, 0, 0, 0, '', 0)",
        );
        Self {
            addresses: (0..ADDRESSES).map(|n| format!("user{n}@example.org")).collect(),
            cases: (0..ADDRESSES).map(Case::number).collect(),
            pepper: details["lookup_pepper"].as_str().unwrap().to_owned(),
            generation: 0,
            token: alice.token.clone().unwrap(),
            with,
            without,
            configuration,
            _programs: programs,
        }
    }

    /// Each address gets another case.
    fn turn(&mut self, by: usize) {
        self.cases = (0..ADDRESSES).map(|n| Case::number((n * 7 + by) % ADDRESSES)).collect();
    }

    /// The beginning of rows of hashes.
    fn hashed(&self, address: &str) -> String {
        let hash = URL_SAFE_NO_PAD.decode(hash(address, "email", &self.pepper)).unwrap();
        let digits = hash.iter().fold(String::new(), |mut digits, byte| {
            write!(digits, "{byte:02x}").unwrap();
            digits
        });
        let is_postgres = self.with.database.is_postgres();
        let hash =
            if is_postgres { format!("decode('{digits}', 'hex')") } else { format!("x'{digits}'") };
        format!("(SELECT max(id) FROM peppers), {hash}")
    }

    /// Runs `first`, and stores rows; all of it at once.
    fn store(&self, first: &str, inserts: [(&str, Vec<String>); 2], last: &str) {
        let mut sql = format!("BEGIN; {first};");
        for (table, rows) in inserts {
            assert!(!rows.is_empty());
            write!(sql, "INSERT INTO {table} VALUES ({});", rows.join("), (")).unwrap();
        }
        self.with.database.execute(&format!("{sql} {last}; COMMIT"));
    }

    fn bind(&self) {
        let (mut rows, mut hashes) = (Vec::new(), Vec::new());
        for (case, address) in self.cases.iter().zip(&self.addresses) {
            let Some((from, until)) = case.own else { continue };
            rows.push(format!("'email', '{address}', '@own:hs.example', {from}, {from}, {until}"));
            hashes.push(format!("{}, 'email', '{address}'", self.hashed(address)));
        }
        self.store(
            "DELETE FROM lookup_hashes; DELETE FROM associations",
            [
                ("associations (medium, address, mxid, ts, not_before, not_after)", rows),
                ("lookup_hashes (pepper_id, hash, medium, address)", hashes),
            ],
            "",
        );
    }

    /// What neighbours say.
    fn hear(&self) {
        let (mut rows, mut hashes) = (Vec::new(), Vec::new());
        for (case, address) in self.cases.iter().zip(&self.addresses) {
            let always = |says: bool| if says { Said::Bound(FOR_EVER) } else { Said::Nothing };
            let said =
                [("near", case.near), ("far", always(case.far)), ("former", always(case.former))];
            for (ts, (origin, said)) in said.into_iter().enumerate() {
                let start = format!("'{origin}.test', 'email', '{address}'");
                let until = match said {
                    Said::Nothing => continue,
                    Said::Bound(until) => until,
                    Said::Unbound => {
                        rows.push(format!("{start}, 1, NULL, {ts}, NULL, NULL"));
                        continue;
                    }
                };
                rows.push(format!("{start}, 1, '{}', {ts}, {START_MS}, {until}", at(origin)));
                hashes.push(format!("{}, {start}", self.hashed(address)));
            }
        }
        self.store(
            "DELETE FROM peer_hashes; DELETE FROM peer_associations",
            [
                (
                    "peer_associations (origin, medium, address, origin_id, mxid, ts, not_before, \
                     not_after)",
                    rows,
                ),
                ("peer_hashes (pepper_id, hash, origin, medium, address)", hashes),
            ],
            "",
        );
    }

    /// Fills a copy of a directory.
    fn fill(&self, (name, generation): (&str, i64), count: impl Fn(&Case) -> usize, last: &str) {
        let (mut rows, mut hashes) = (Vec::new(), Vec::new());
        for (case, address) in self.cases.iter().zip(&self.addresses) {
            for number in 0..count(case) {
                let mxid = at(&format!("{name}{number}"));
                let row = format!("'{name}', {generation}, 'email', '{address}', '{mxid}'");
                hashes.push(format!("{}, {row}", self.hashed(address)));
                rows.push(row);
            }
        }
        let which = format!("WHERE directory = '{name}' AND generation = {generation}");
        let columns = "directory, generation, medium, address, mxid";
        self.store(
            &format!(
                "DELETE FROM directory_hashes {which}; DELETE FROM directory_associations {which}"
            ),
            [
                (&format!("directory_associations ({columns})"), rows),
                (&format!("directory_hashes (pepper_id, hash, {columns})"), hashes),
            ],
            last,
        );
    }

    /// Another copy of the first directory takes the place of the one before.
    fn swap(&mut self) {
        self.generation += 1;
        let generation = self.generation;
        let swap = format!(
            "UPDATE directory_syncs SET generation = {generation} WHERE directory = 'west'"
        );
        self.fill(("west", generation), |case| case.first, &swap);
    }

    /// The other directories change in the copies that are believed.
    fn change(&self) {
        self.fill(("east", 1), |case| usize::from(case.second), "");
        self.fill(("former", 1), |case| usize::from(case.former), "");
    }

    async fn found(&self, app: &TestApp) -> Vec<Option<String>> {
        let caller: Caller<'_> = app.holder(&self.token);
        caller.find(&self.addresses.iter().map(String::as_str).collect::<Vec<_>>()).await
    }

    /// Asks both servers.
    async fn agree(&self, what: &str) {
        self.with.settle().await;
        let (with, without) = (self.found(&self.with).await, self.found(&self.without).await);
        for (number, (with, without)) in with.iter().zip(&without).enumerate() {
            assert_eq!(with, without, "{what}: {}", self.addresses[number]);
        }
    }

    /// Asks both servers, and one that has just started, which must know what is expected.
    async fn know(&self, now_ms: i64) {
        self.agree("all").await;
        let late = self.with.beside(&self.configuration).await;
        late.settle().await;
        let expected: Vec<_> = self.cases.iter().map(|case| case.expected(now_ms)).collect();
        for app in [&self.with, &late] {
            assert_eq!(self.found(app).await, expected);
        }
    }
}

#[tokio::test]
async fn memory_says_what_the_database_says() {
    let mut world = World::start().await;
    for round in 0..3 {
        world.turn(round * 101);
        world.bind();
        world.agree("bound").await;
        world.swap();
        world.agree("another copy").await;
        world.hear();
        world.agree("neighbours").await;
        world.change();
        world.know(START_MS).await;
    }
    world.with.clock.advance(SOON);
    world.know(START_MS + i64::try_from(SOON.as_millis()).unwrap()).await;
    world.with.database.execute("DELETE FROM directory_syncs WHERE directory = 'west'");
    world.cases.iter_mut().for_each(|case| case.first = 0);
    world.know(START_MS + i64::try_from(SOON.as_millis()).unwrap()).await;
}
