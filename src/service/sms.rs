//! Who may be sent a text message: each costs money, and whoever shares in the price of messages to
//! some numbers has a reason to ask for many.

use std::{net::IpAddr, num::NonZeroU32, sync::atomic::Ordering, time::Duration};

use crate::{
    app::{App, limits::SharedLimit},
    config::Sms,
    matrix::{
        id::UserId,
        phone::{Country, NumberKind, Phone},
    },
    metrics::SmsReason,
    store::{
        StoreError,
        allowances::{self, Allowance},
        sms_counts::{self, DayFull, DayLimits},
    },
};

/// How long the counts of a day are remembered, in days.
const REMEMBERED: i64 = 7;

const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// Who asks for a message.
#[derive(Debug, Clone, Copy)]
pub struct Source<'a> {
    /// The account; `None` where a homeserver asks for somebody.
    pub mxid: Option<&'a UserId>,
    /// The client's address.
    pub client: IpAddr,
}

/// A text message that may be sent, and was counted.
#[derive(Debug)]
#[must_use = "what isn't sent has to be given back"]
pub struct Admitted {
    day: i64,
    country: Country,
}

/// Why a text message may not be sent.
#[derive(Debug, thiserror::Error)]
pub enum SmsRefusal {
    /// Nobody gets one there, whoever asks; a sentence that says why.
    #[error("{0}")]
    Destination(&'static str),
    /// There were too many.
    #[error("too many text messages")]
    Exceeded {
        /// When the same request may succeed.
        retry_after: Duration,
    },
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Counts a text message to `phone`, unless it may not be sent.
///
/// What each asks for is counted before what they share with others, so that whoever is over their
/// own limit takes nothing from anybody else.
///
/// # Errors
/// When no message goes there, or there were too many.
pub async fn admit(app: &App, phone: &Phone, source: &Source<'_>) -> Result<Admitted, SmsRefusal> {
    let country = destination(phone, &app.config.sms).map_err(|(reason, why)| {
        app.metrics.sms_refusal(reason);
        SmsRefusal::Destination(why)
    })?;
    take_allowances(app, phone, source).await?;
    count(app, country).await
}

/// The country of a number that messages may be sent to.
fn destination(phone: &Phone, sms: &Sms) -> Result<Country, (SmsReason, &'static str)> {
    if !is_a_persons(phone.kind()) {
        return Err((SmsReason::Kind, "No text messages are sent to numbers of this kind"));
    }
    let country = phone.country().ok_or((
        SmsReason::Satellite,
        "No text messages are sent to satellites and to numbers that belong to no country",
    ))?;
    if !sms.countries.permits(country) {
        return Err((SmsReason::Country, "No text messages are sent to numbers of this country"));
    }
    Ok(country)
}

/// Whether a person may have such a number, and gets text messages at the usual price. Some get
/// them on a line at home.
fn is_a_persons(kind: NumberKind) -> bool {
    match kind {
        NumberKind::FixedLine
        | NumberKind::Mobile
        | NumberKind::FixedLineOrMobile
        | NumberKind::Voip
        | NumberKind::Unknown => true,
        NumberKind::TollFree
        | NumberKind::PremiumRate
        | NumberKind::SharedCost
        | NumberKind::PersonalNumber
        | NumberKind::Pager
        | NumberKind::Uan
        | NumberKind::Voicemail => false,
    }
}

/// Takes of all allowances, or of those before the first one that is spent.
async fn take_allowances(app: &App, phone: &Phone, source: &Source<'_>) -> Result<(), SmsRefusal> {
    let wanted = allowances_for(app, phone, source);
    if wanted.is_empty() {
        return Ok(());
    }
    let now_ms = app.clock.now_ms();
    let refused = app.store.write(move |tx| {
        for (allowance, reason) in wanted {
            if let Err(exceeded) = allowances::take(tx, &allowance, now_ms)? {
                return Ok::<_, StoreError>(Some((exceeded.retry_after, reason)));
            }
        }
        Ok(None)
    });
    refused.await?.map_or(Ok(()), |(retry_after, reason)| {
        app.metrics.sms_refusal(reason);
        Err(SmsRefusal::Exceeded { retry_after })
    })
}

/// The account's own allowance first, then what it shares with its network, with all who ask for the
/// number, and with the numbers beside that. Everybody takes in this order, so that nobody waits in
/// a circle.
fn allowances_for(app: &App, phone: &Phone, source: &Source<'_>) -> Vec<(Allowance, SmsReason)> {
    let limits = &app.limits;
    let of = |limit: &Option<SharedLimit>, whom: &str, reason| {
        limit.as_ref().map(|limit| (limit.of(whom), reason))
    };
    let account = source
        .mxid
        .and_then(|mxid| of(&limits.sms_per_account, mxid.as_str(), SmsReason::AccountLimit));
    let is_counted = !app.config.limits.exempts(source.client);
    let network = is_counted.then(|| network(source.client.to_canonical()));
    let network =
        network.and_then(|network| of(&limits.sms_per_network, &network, SmsReason::NetworkLimit));
    let address = of(&limits.sms_per_address, phone.msisdn(), SmsReason::AddressLimit);
    let prefix = of(&limits.sms_per_prefix, prefix(phone), SmsReason::PrefixLimit);
    [account, network, address, prefix].into_iter().flatten().collect()
}

/// The network that an address is in, which one subscriber or one rented machine has.
fn network(client: IpAddr) -> String {
    match client {
        IpAddr::V4(v4) => format!("{}/24", v4.to_bits() >> 8),
        IpAddr::V6(v6) => format!("{}/64", v6.to_bits() >> 64),
    }
}

/// What the ten thousand numbers of a block begin with: whoever earns by messages rents them
/// together.
fn prefix(phone: &Phone) -> &str {
    let digits = phone.msisdn();
    digits.get(..digits.len().saturating_sub(4)).unwrap_or(digits)
}

/// Counts against the country's day and the budget, on all nodes together.
async fn count(app: &App, country: Country) -> Result<Admitted, SmsRefusal> {
    let now_ms = app.clock.now_ms();
    let day = day_of(now_ms);
    let limits = day_limits(&app.config.sms, country);
    let counted = app.store.write(move |tx| sms_counts::take(tx, day, country.as_str(), limits));
    let reason = match counted.await {
        Ok(total) => {
            show_day(app, day, total);
            return Ok(Admitted { day, country });
        }
        Err(DayFull::Store(error)) => return Err(error.into()),
        Err(DayFull::Country) => SmsReason::CountryDay,
        Err(DayFull::Total) => {
            show_day(app, day, limits.total.unwrap_or_default());
            SmsReason::Budget
        }
    };
    app.metrics.sms_refusal(reason);
    Err(SmsRefusal::Exceeded { retry_after: until_next_day(now_ms) })
}

fn day_limits(sms: &Sms, country: Country) -> DayLimits {
    let count = |limit: NonZeroU32| i64::from(limit.get());
    DayLimits {
        country: sms.countries.per_day(country).map(count),
        total: sms.daily_budget.map(count),
    }
}

/// Takes back the count of a message of which surely nothing was sent. The allowances stay taken:
/// they hold for those who ask, whether or not it leads to anything.
///
/// # Errors
/// When the database fails.
pub async fn give_back(app: &App, admitted: Admitted) -> Result<(), StoreError> {
    let Admitted { day, country } = admitted;
    let total = app.store.write(move |tx| sms_counts::give_back(tx, day, country.as_str())).await?;
    if day == day_of(app.clock.now_ms()) {
        show_day(app, day, total);
    }
    Ok(())
}

/// Forgets days that passed long ago, and shows what this one had; answers how many counts were
/// forgotten.
///
/// # Errors
/// When the database fails.
pub async fn forget_old_days(app: &App) -> Result<usize, StoreError> {
    let day = day_of(app.clock.now_ms());
    let total = app.store.read(move |tx| sms_counts::total(tx, day)).await?;
    show_day(app, day, total);
    app.store.write(move |tx| sms_counts::remove_before(tx, day - REMEMBERED)).await
}

/// Tells monitoring how many messages the day had, and the log when that is all of the budget:
/// once a day, however many ask after that.
fn show_day(app: &App, day: i64, total: i64) {
    let Some(budget) = app.config.sms.daily_budget else {
        return app.metrics.set_sms_today(total, false);
    };
    let is_spent = total >= budget.get().into();
    app.metrics.set_sms_today(total, is_spent);
    if is_spent && app.sms_shut_off_day.swap(day, Ordering::Relaxed) != day {
        tracing::error!(
            %budget,
            "no more text messages today: sms.daily_budget is spent; the next are sent after \
             midnight UTC"
        );
    }
}

/// Counted from the Unix epoch, in UTC.
fn day_of(now_ms: i64) -> i64 {
    now_ms.div_euclid(DAY_MS)
}

fn until_next_day(now_ms: i64) -> Duration {
    let left = DAY_MS - now_ms.rem_euclid(DAY_MS);
    Duration::from_millis(left.unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn phone(digits: &str) -> Phone {
        Phone::of_digits(digits).unwrap()
    }

    #[test]
    fn a_network_is_what_one_subscriber_has() {
        let network = |client: &str| network(client.parse::<IpAddr>().unwrap().to_canonical());
        assert_eq!(network("192.0.2.1"), network("192.0.2.254"));
        assert_eq!(network("192.0.2.1"), network("::ffff:192.0.2.7"));
        assert_ne!(network("192.0.2.1"), network("192.0.3.1"));
        assert_eq!(network("2001:db8:1:2::1"), network("2001:db8:1:2:ffff::1"));
        assert_ne!(network("2001:db8:1:2::1"), network("2001:db8:1:3::1"));
        // The bits of the one kind aren't those of the other.
        assert_ne!(network("0.0.1.1"), network("0:0:0:1::1"));
    }

    #[test]
    fn a_prefix_is_all_but_the_last_four_digits() {
        assert_eq!(prefix(&phone("447700900001")), "44770090");
        assert_eq!(prefix(&phone("6834002")), "683");
    }

    #[test]
    fn a_day_ends_at_midnight_utc() {
        // 2026-11-23T23:59:59.999Z and the millisecond after.
        let (last, first) = (1_795_478_399_999, 1_795_478_400_000);
        assert_eq!(day_of(first), day_of(last) + 1);
        assert_eq!(until_next_day(last), Duration::from_millis(1));
        assert_eq!(until_next_day(first), Duration::from_hours(24));
        assert_eq!((day_of(-1), until_next_day(-1)), (-1, Duration::from_millis(1)));
    }

    #[test]
    fn only_numbers_that_people_have_get_messages() {
        for digits in
            ["447400123456", "442079460000", "12125550123", "445612345678", "447700900001"]
        {
            assert!(is_a_persons(phone(digits).kind()), "{digits}");
        }
        for digits in [
            "18005552067",
            "449012345678",
            "4918012345678",
            "447012345678",
            "447640123456",
            "445512345678",
            "49177991234567",
        ] {
            assert!(!is_a_persons(phone(digits).kind()), "{digits}");
        }
    }
}
