//! Attacks on the operator's purse, and on the peace of those whose numbers are asked for: how many
//! text messages get out with the limits as they are, and how many would without them.

use std::{
    collections::HashMap,
    net::{Ipv4Addr, Ipv6Addr},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use serde_json::json;

use crate::{
    gateway::{Answer as Told, Gateway},
    harness::{Answer, Caller, TestApp, answer},
    session::log,
};

/// How many messages an attacker asks for.
const TRIES: u32 = 60;

const WITHOUT_LIMITS: &str = "limits.enabled = false\nsms.daily_budget = 'none'\n\
                              sms.countries.per_day = 'none'";

/// From the time at which tests begin to the next midnight.
const TO_MIDNIGHT_MS: u64 = 60_710_877;

/// One request of an attacker.
#[derive(Clone)]
struct Try {
    mxid: String,
    from: String,
    number: String,
}

impl Try {
    /// The request of somebody whom nothing links with the one of another index: another account,
    /// another network, another range of numbers.
    fn stranger(index: u32) -> Self {
        Self {
            mxid: format!("@mallory{index}:hs.example"),
            from: Ipv4Addr::from_bits(0xc612_0001 + (index << 8)).to_string(),
            number: format!("+44740{index:04}346"),
        }
    }
}

fn strangers(change: impl Fn(u32, &mut Try)) -> Vec<Try> {
    let change = |index| {
        let mut one = Try::stranger(index);
        change(index, &mut one);
        one
    };
    (0..TRIES).map(change).collect()
}

/// What came of an attack.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Spoils {
    sent: usize,
    limited: usize,
    rejected: usize,
}

/// A server that sends its text messages to a gateway.
async fn start(toml: &str) -> (TestApp, Gateway) {
    let gateway = Gateway::start().await;
    (TestApp::with(&with_gateway(&gateway, toml)).await, gateway)
}

fn with_gateway(gateway: &Gateway, toml: &str) -> String {
    format!(
        "sms.provider = 'http'\nsms.http.url = '{}/send'\n\
         sms.http.json = {{ to = '{{{{ to }}}}', text = '{{{{ text }}}}' }}\n{toml}",
        gateway.url()
    )
}

async fn ask(caller: &Caller<'_>, from: &str, number: &str, secret: &str) -> Answer {
    let body = json!({
        "country": "GB", "phone_number": number, "client_secret": secret, "send_attempt": 1,
    });
    let request = caller.request("POST", "/validate/msisdn/requestToken");
    answer(request.header("x-forwarded-for", from).json(&body)).await
}

/// Carries out an attack, each message asked for in a session of its own.
async fn carry_out(app: &TestApp, tries: &[Try]) -> Spoils {
    static SESSIONS: AtomicU32 = AtomicU32::new(0);
    let mut accounts = HashMap::new();
    let mut spoils = Spoils::default();
    for Try { mxid, from, number } in tries {
        let secret = format!("secret{}", SESSIONS.fetch_add(1, Ordering::Relaxed));
        if !accounts.contains_key(mxid) {
            accounts.insert(mxid, app.account(mxid).await);
        }
        let answer = ask(&accounts[mxid], from, number, &secret).await;
        match answer.status {
            200 => spoils.sent += 1,
            429 => {
                let wait = answer.refused(429, "M_LIMIT_EXCEEDED")["retry_after_ms"].as_u64();
                assert!(wait > Some(0), "{}", answer.body);
                spoils.limited += 1;
            }
            _ => {
                answer.refused(400, "M_DESTINATION_REJECTED");
                spoils.rejected += 1;
            }
        }
    }
    spoils
}

/// Carries out an attack on a server with this configuration, and on one without limits.
async fn attack(name: &str, toml: &str, tries: &[Try]) -> Spoils {
    let mut all = Vec::new();
    for toml in [toml, WITHOUT_LIMITS] {
        let (app, gateway) = start(toml).await;
        let spoils = carry_out(&app, tries).await;
        assert_eq!(gateway.messages().len(), spoils.sent);
        assert_eq!(
            figure(&app, "messages_total{medium=\"msisdn\",outcome=\"sent\"}").await,
            spoils.sent
        );
        all.push(spoils);
    }
    tell(name, tries.len(), all[0].sent, all[1].sent);
    assert_eq!(all[1].sent, tries.len(), "without limits all of it gets out");
    all[0]
}

#[expect(
    clippy::print_stdout,
    reason = "the comparison is what a reader of the tests wants to see"
)]
fn tell(name: &str, asked: usize, with: usize, without: usize) {
    println!("{name}: {asked} asked for, {with} sent; {without} sent without limits");
}

/// A figure of `/metrics`.
async fn figure(app: &TestApp, name: &str) -> usize {
    let text = app.open(&format!("{}/metrics", app.base)).await.body;
    let begin = format!("bindery_{name} ");
    let value = text.lines().find_map(|line| line.strip_prefix(&begin));
    value.unwrap_or_else(|| panic!("no {begin}in {text}")).parse().unwrap()
}

async fn refusals(app: &TestApp, reason: &str) -> usize {
    figure(app, &format!("sms_refused_total{{reason=\"{reason}\"}}")).await
}

fn limited_to(sent: usize) -> Spoils {
    Spoils { sent, limited: TRIES as usize - sent, rejected: 0 }
}

#[tokio::test]
async fn one_network_with_many_accounts_and_numbers_gets_twenty_an_hour() {
    let tries = strangers(|index, one| one.from = format!("192.0.2.{index}"));
    assert_eq!(attack("one network", "", &tries).await, limited_to(20));
    let tries = strangers(|index, one| {
        one.from =
            Ipv6Addr::new(0x2001, 0xdb8, 1, 2, 0, 0, 0, index.try_into().unwrap()).to_string();
    });
    assert_eq!(attack("one network, IPv6", "", &tries).await, limited_to(20));
}

#[tokio::test]
async fn one_number_gets_five_a_day_from_however_many_networks() {
    let tries = strangers(|_, one| one.number = "07700 900001".to_owned());
    assert_eq!(attack("one number", "", &tries).await, limited_to(5));
}

#[tokio::test]
async fn a_range_of_numbers_gets_thirty_an_hour_from_however_many_networks() {
    let tries = strangers(|index, one| one.number = format!("+44740012{index:04}"));
    assert_eq!(attack("one range of numbers", "", &tries).await, limited_to(30));
}

#[tokio::test]
async fn one_account_gets_five_an_hour_from_however_many_networks() {
    let tries = strangers(|_, one| one.mxid = "@mallory:hs.example".to_owned());
    assert_eq!(attack("one account", "", &tries).await, limited_to(5));
}

#[tokio::test]
async fn a_country_gets_so_many_a_day() {
    let toml = "sms.countries.per_day = 40\nsms.countries.GB.per_day = 10";
    let tries = strangers(|index, one| {
        if index >= 20 {
            one.number = format!("+336{index:04}1234");
        }
    });
    // Ten to the one country, and all forty to the other, which has no limit of its own.
    assert_eq!(attack("one country", toml, &tries).await, limited_to(50));
}

#[tokio::test]
async fn a_day_has_a_budget() {
    let tries = strangers(|_, _| ());
    assert_eq!(attack("a budget", "sms.daily_budget = 25", &tries).await, limited_to(25));
    // Without one, and by default, nothing that looks like people is refused.
    assert_eq!(attack("strangers", "", &tries).await, limited_to(60));
}

#[tokio::test]
async fn numbers_that_no_person_has_get_none_whatever_the_limits() {
    let (app, gateway) = start(&format!("{WITHOUT_LIMITS}\nsms.countries.deny = ['RU']")).await;
    let numbers = [
        ("kind", "+44 90 1234 5678"),
        ("kind", "+1 900 234 5678"),
        ("kind", "+1 800 555 2067"),
        ("kind", "+49 180 12345678"),
        ("kind", "+44 70 1234 5678"),
        ("kind", "+44 76 4012 3456"),
        ("kind", "+44 55 1234 5678"),
        ("satellite", "+870 773 111 632"),
        ("satellite", "+881 612 345 678"),
        ("satellite", "+883 510 012 345"),
        ("country", "+7 912 345 67 89"),
    ];
    let tries: Vec<_> = numbers
        .iter()
        .zip(0..)
        .map(|((_, number), index)| Try { number: (*number).to_owned(), ..Try::stranger(index) })
        .collect();
    let spoils = carry_out(&app, &tries).await;
    assert_eq!(spoils, Spoils { rejected: numbers.len(), ..Spoils::default() });
    assert_eq!(gateway.requests().len(), 0);
    for reason in ["kind", "satellite", "country"] {
        let expected = numbers.iter().filter(|(of, _)| *of == reason).count();
        assert_eq!(refusals(&app, reason).await, expected, "{reason}");
    }
}

#[tokio::test]
async fn only_countries_that_are_allowed_get_messages_where_any_are() {
    let (app, gateway) = start("sms.countries.allow = ['GB', 'FR']").await;
    let alice = app.account("@alice:hs.example").await;
    ask(&alice, "192.0.2.1", "07700 900001", "a").await.ok();
    ask(&alice, "192.0.2.1", "+33 6 12 34 56 78", "b").await.ok();
    // Jersey shares the calling code of the United Kingdom, and not its prices.
    for (number, secret) in [("+44 7797 712345", "c"), ("+49 151 12345678", "d")] {
        let refused = ask(&alice, "192.0.2.1", number, secret).await;
        refused.refused(400, "M_DESTINATION_REJECTED");
    }
    assert_eq!(gateway.messages().len(), 2);
}

#[tokio::test]
async fn a_homeserver_that_asks_for_its_users_is_no_network() {
    let (app, _gateway) = start("limits.exempt_networks = ['192.0.2.0/24']").await;
    let tries = strangers(|index, one| one.from = format!("192.0.2.{index}"));
    assert_eq!(carry_out(&app, &tries).await, limited_to(60));
}

#[tokio::test]
async fn who_is_refused_takes_nothing_from_others() {
    let toml = "limits.sms_per_account = '2 per 1h'\nlimits.sms_per_network = '3 per 1h'\n\
                limits.sms_per_address = '4 per 1h'\nlimits.sms_per_prefix = '5 per 1h'\n\
                limits.request_token_per_address = '100 per 1h'";
    let (app, _gateway) = start(toml).await;
    let one = |name: &str, from: &str, number: &str| Try {
        mxid: format!("@{name}:hs.example"),
        from: from.to_owned(),
        number: number.to_owned(),
    };
    let (here, there, victim, neighbour) =
        ("192.0.2.1", "198.51.100.1", "07700900001", "07700900002");
    // Over the account's limit: one is left in the network, two for the victim.
    let spoils = carry_out(&app, &vec![one("mallory", here, victim); 10]).await;
    assert_eq!(spoils, Spoils { sent: 2, limited: 8, rejected: 0 });
    // Over the network's, and then over her own: one is left for the victim.
    let spoils = carry_out(&app, &vec![one("alice", here, victim); 10]).await;
    assert_eq!(spoils, Spoils { sent: 1, limited: 9, rejected: 0 });
    // Over the victim's: one is left for the number beside it.
    let spoils = carry_out(&app, &vec![one("bob", there, victim); 2]).await;
    assert_eq!(spoils, Spoils { sent: 1, limited: 1, rejected: 0 });
    let spoils = carry_out(&app, &vec![one("carol", "203.0.113.1", neighbour); 2]).await;
    assert_eq!(spoils, Spoils { sent: 1, limited: 1, rejected: 0 });
    for (reason, expected) in
        [("account_limit", 16), ("network_limit", 1), ("address_limit", 1), ("prefix_limit", 1)]
    {
        assert_eq!(refusals(&app, reason).await, expected, "{reason}");
    }
}

#[tokio::test]
async fn a_spent_budget_lasts_until_midnight_utc_and_is_told_once() {
    log::record();
    // No other test of this process has such a budget.
    let (app, gateway) = start("sms.daily_budget = 13").await;
    let told = || {
        let text = log::text();
        let is_it =
            |line: &&str| line.contains("no more text messages") && line.contains("budget=13");
        text.lines().filter(is_it).filter(|line| line.contains("ERROR")).count()
    };
    let tries = strangers(|_, _| ());
    assert_eq!(carry_out(&app, &tries[..12]).await.sent, 12);
    assert_eq!((told(), figure(&app, "sms_budget_exhausted").await), (0, 0));
    assert_eq!(carry_out(&app, &tries[12..30]).await.sent, 1);
    assert_eq!((told(), figure(&app, "sms_budget_exhausted").await), (1, 1));
    assert_eq!((figure(&app, "sms_today").await, refusals(&app, "budget").await), (13, 17));
    let alice = app.account("@alice:hs.example").await;
    let refused = ask(&alice, "203.0.113.1", "07700900001", "alice").await;
    let body = refused.refused(429, "M_LIMIT_EXCEEDED");
    assert_eq!(body["retry_after_ms"], TO_MIDNIGHT_MS);
    app.clock.advance(Duration::from_millis(TO_MIDNIGHT_MS - 1));
    ask(&alice, "203.0.113.1", "07700900001", "alice").await.refused(429, "M_LIMIT_EXCEEDED");
    app.clock.advance(Duration::from_millis(1));
    // Monitoring sees the new day before anybody asks for a message.
    app.background().await;
    assert_eq!(figure(&app, "sms_budget_exhausted").await, 0);
    ask(&alice, "203.0.113.1", "07700900001", "alice").await.ok();
    assert_eq!((figure(&app, "sms_today").await, told()), (1, 1));
    assert_eq!(carry_out(&app, &tries).await.sent, 12);
    assert_eq!((told(), gateway.messages().len()), (2, 26));
}

#[tokio::test]
async fn all_nodes_share_what_each_who_asks_and_each_number_may_have() {
    let mut tries = [(); 4].map(|()| strangers(|_, _| ()));
    tries[0].iter_mut().for_each(|one| one.mxid = "@mallory:hs.example".to_owned());
    tries[1].iter_mut().for_each(|one| one.from = "198.51.100.7".to_owned());
    tries[2].iter_mut().for_each(|one| one.number = "07700 900001".to_owned());
    tries[3]
        .iter_mut()
        .zip(0..)
        .for_each(|(one, index)| one.number = format!("+44740012{index:04}"));
    for (tries, most) in tries.iter().zip([5, 20, 5, 30]) {
        let gateway = Gateway::start().await;
        let toml = with_gateway(&gateway, "");
        let one = TestApp::with(&toml).await;
        let other = one.beside(&toml).await;
        // In turn, so that neither is alone over the limit.
        let mut sent = 0;
        for (index, one_try) in tries.iter().enumerate() {
            let node = if index % 2 == 0 { &one } else { &other };
            sent += carry_out(node, std::slice::from_ref(one_try)).await.sent;
        }
        assert_eq!((sent, gateway.messages().len()), (most, most));
        one.clock.advance(Duration::from_hours(24));
        assert_eq!(carry_out(&other, &tries[..5]).await.sent, 5);
    }
}

#[tokio::test]
async fn all_nodes_share_the_budget_and_requests_at_one_moment_do_not_exceed_it() {
    let gateway = Gateway::start().await;
    let toml = with_gateway(&gateway, "sms.daily_budget = 10");
    let one = TestApp::with(&toml).await;
    let other = one.beside(&toml).await;
    let tries = strangers(|_, _| ());
    let (first, second) = tries.split_at(30);
    let (first, second) = tokio::join!(carry_out(&one, first), carry_out(&other, second));
    assert_eq!(first.sent + second.sent, 10);
    let alice = one.account("@alice:hs.example").await;
    one.clock.advance(Duration::from_hours(24));
    let secrets: Vec<_> = (0..20).map(|index| format!("alice{index}")).collect();
    let at_once =
        secrets.iter().zip(&tries).map(|(secret, one)| ask(&alice, &one.from, &one.number, secret));
    let answers = futures_util::future::join_all(at_once).await;
    // Alice's own limit.
    assert_eq!(answers.iter().filter(|answer| answer.status == 200).count(), 5);
    assert_eq!(gateway.messages().len(), 15);
}

#[tokio::test]
async fn what_surely_was_not_sent_is_not_counted() {
    let (app, gateway) = start("sms.daily_budget = 2\nsms.countries.per_day = 2").await;
    let alice = app.account("@alice:hs.example").await;
    gateway.answer_with(Told::Text(429, "not now".to_owned()));
    for secret in ["a", "b", "c"] {
        let failed = ask(&alice, "192.0.2.1", "07700900001", secret).await;
        failed.refused(400, "M_SEND_ERROR");
    }
    assert_eq!(figure(&app, "sms_today").await, 0);
    assert_eq!(figure(&app, "messages_total{medium=\"msisdn\",outcome=\"failed\"}").await, 3);
    gateway.answer_with(Told::Success);
    ask(&alice, "192.0.2.1", "07700900001", "a").await.ok();
    // It may have sent that before it failed.
    gateway.answer_with(Told::Text(503, "oh".to_owned()));
    ask(&alice, "192.0.2.1", "07700900001", "b").await.refused(400, "M_SEND_ERROR");
    assert_eq!(figure(&app, "sms_today").await, 2);
    gateway.answer_with(Told::Success);
    let bob = app.account("@bob:hs.example").await;
    ask(&bob, "192.0.2.1", "07700900002", "c").await.refused(429, "M_LIMIT_EXCEEDED");
}
