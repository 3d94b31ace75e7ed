//! A model of what invitations go through: whatever order binds, failures, crashes and restarts
//! come in, each invitation reaches the homeserver of the one it is for, and nobody else's.

use std::{collections::HashMap, time::Duration};

use bindery::store::{
    StoreError,
    invites::{self, Outcome, State},
};
use proptest::{prelude::*, test_runner::TestRunner};

use crate::{
    harness::TestApp,
    homeserver::Reply,
    invite::invited,
    onbind::{ONBIND, World, json_of, token_of, toml},
};

/// How many people there are.
const PEOPLE: usize = 3;

/// Something that happens.
#[derive(Debug, Clone)]
enum Event {
    /// Somebody invites a person.
    Invite(usize),
    /// A person binds their address, for the first time or again.
    Bind(usize),
    /// What is due is delivered while the homeserver answers with this status.
    Deliver(u16),
    /// What is due is delivered while the homeserver hangs up without an answer.
    HangUp,
    /// The homeserver takes a request, and the server dies before it hears of that.
    Crash,
    /// The server starts anew.
    Restart,
    /// Time passes, in minutes.
    Wait(u64),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        3 => (0..PEOPLE).prop_map(Event::Invite),
        3 => (0..PEOPLE).prop_map(Event::Bind),
        2 => prop_oneof![Just(200_u16), Just(403), Just(500)].prop_map(Event::Deliver),
        1 => Just(Event::HangUp),
        2 => Just(Event::Crash),
        1 => Just(Event::Restart),
        2 => (1..600_u64).prop_map(Event::Wait),
    ]
}

/// A run of events on a server.
struct Run {
    world: World,
    /// The nodes that were started after the world's own; the last one is alive.
    restarted: Vec<TestApp>,
    /// For whom each token is.
    invited: HashMap<String, usize>,
    /// How often the server died after the homeserver had taken a request.
    crashes: usize,
}

impl Run {
    async fn start() -> Self {
        let world = World::start().await;
        Self { world, restarted: Vec::new(), invited: HashMap::new(), crashes: 0 }
    }

    fn app(&self) -> &TestApp {
        self.restarted.last().unwrap_or(&self.world.app)
    }

    async fn happen(&mut self, event: Event) {
        match event {
            Event::Invite(person) => self.invite(person).await,
            Event::Bind(person) => self.bind(person).await,
            Event::Deliver(status) => self.deliver(Reply::new(status, "{}")).await,
            Event::HangUp => self.deliver(Reply::Raw(Vec::new())).await,
            Event::Crash => self.crash().await,
            Event::Restart => self.restarted.push(self.app().beside(&toml(&self.world.ca)).await),
            Event::Wait(minutes) => self.app().clock.advance(Duration::from_mins(minutes)),
        }
    }

    async fn invite(&mut self, person: usize) {
        let alice = self.app().account("@alice:hs.example").await;
        let body = crate::invite::request(&address(person), "@alice:hs.example");
        let answer = alice.post("/store-invite", body).await;
        // Who is bound already is not invited.
        if answer.status == 200 {
            let token = answer.ok()["token"].as_str().unwrap().to_owned();
            self.invited.insert(token, person);
        } else {
            answer.refused(400, "M_THREEPID_IN_USE");
        }
    }

    async fn bind(&self, person: usize) {
        self.world.bind(self.app(), &name(person), &address(person)).await;
    }

    async fn deliver(&self, reply: Reply) {
        self.world.homeserver.set_reply(ONBIND, reply);
        self.app().deliver().await;
    }

    /// Gives up delivering once the homeserver has a request that it doesn't answer.
    async fn crash(&mut self) {
        self.world.homeserver.set_reply(ONBIND, Reply::Silence);
        let before = self.world.told().len();
        let taken = async {
            while self.world.told().len() == before {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            () = self.app().deliver() => {}
            () = taken => self.crashes += 1,
        }
    }

    /// Everybody binds, the homeserver works, and enough time passes.
    async fn end_well(&mut self) {
        for person in 0..PEOPLE {
            self.bind(person).await;
        }
        for _ in 0..3 {
            self.app().clock.advance(Duration::from_hours(6));
            self.deliver(Reply::new(200, "{}")).await;
        }
    }

    async fn check(&self) {
        let store = &self.app().app.store;
        let all = store.read::<_, StoreError>(invites::list).await.unwrap();
        assert_eq!(all.len(), self.invited.len());
        for invite in all {
            let delivered =
                matches!(invite.state, State::Settled { outcome: Outcome::Delivered, .. });
            assert!(delivered, "{invite:?}");
        }
        let told = self.world.told();
        for request in &told {
            let (body, token) = (json_of(request), token_of(request));
            let person = self.invited[&token];
            assert_eq!(body["mxid"], self.world.mxid(&name(person)));
            assert_eq!(body["address"], address(person));
            assert_eq!(body["invites"].as_array().unwrap().len(), 1);
        }
        let tokens: Vec<String> = told.iter().map(token_of).collect();
        for token in self.invited.keys() {
            assert!(tokens.contains(token), "an invitation was lost");
        }
        // What was acknowledged is never sent again.
        self.app().clock.advance(Duration::from_hours(24));
        self.app().deliver().await;
        assert_eq!(self.world.told().len(), told.len());
    }
}

fn name(person: usize) -> String {
    format!("person{person}")
}

fn address(person: usize) -> String {
    format!("person{person}@example.org")
}

#[test]
fn no_order_of_events_loses_an_invitation_or_gives_it_to_another() {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let config = ProptestConfig { cases: 24, failure_persistence: None, ..Default::default() };
    let events = prop::collection::vec(event(), 1..24);
    TestRunner::new(config)
        .run(&events, |events| {
            runtime.block_on(async {
                let mut run = Run::start().await;
                for event in events {
                    run.happen(event).await;
                }
                run.end_well().await;
                run.check().await;
            });
            Ok(())
        })
        .unwrap();
}

#[tokio::test]
async fn what_the_homeserver_took_before_a_crash_is_sent_again_and_then_acknowledged() {
    let mut run = Run::start().await;
    let alice = run.app().account("@alice:hs.example").await;
    let token = invited(&alice, &address(0)).await["token"].as_str().unwrap().to_owned();
    drop(alice);
    run.invited.insert(token.clone(), 0);
    run.bind(0).await;
    run.crash().await;
    assert_eq!((run.crashes, run.world.tokens()), (1, vec![token.clone()]));
    run.happen(Event::Restart).await;
    run.end_well().await;
    assert_eq!(run.world.tokens(), [token.clone(), token]);
    run.check().await;
}
