use proptest::prelude::*;

use super::*;

fn msisdn(country: &str, number: &str) -> Result<String, InvalidAddress> {
    Phone::parse(country, number).map(|phone| phone.msisdn)
}

fn phone(digits: &str) -> Phone {
    Phone::of_digits(digits).unwrap()
}

#[test]
fn every_way_to_write_a_number_leads_to_the_same_digits() {
    for (country, number) in [
        ("GB", "07700900001"),
        ("gb", "07700 900001"),
        ("GB", "447700900001"),
        ("GB", "44 7700 900001"),
        ("GB", "+44 7700 900001"),
        ("GB", "+44 (0)7700 900001"),
        ("GB", "(+44) 7700-900-001"),
        ("GB", "00447700900001"),
        ("GB", "00 44 7700 900001"),
        ("US", "011 44 7700 900001"),
        ("FR", "0044 7700 900001"),
        ("DE", "+447700900001"),
        ("GB", "7700900001"),
        ("GB", "(07700) 900.001"),
        ("GB", "07700/900001"),
        ("GB", "０７７００９００００１"),
        ("GB", "＋４４　７７００　９００００１"),
        ("GB", "٠٧٧٠٠٩٠٠٠٠١"),
        ("GB", "\u{202a}+44 7700 900001\u{202c}"),
        ("GB", "+44\u{a0}7700\u{2011}900001"),
        ("GB", " 07700900001\n"),
    ] {
        assert_eq!(msisdn(country, number).as_deref(), Ok("447700900001"), "{country} {number}");
    }
}

#[test]
fn a_number_is_read_as_if_dialled_from_its_country() {
    for (country, number, digits) in [
        ("US", "(415) 555-2671", "14155552671"),
        ("US", "1 415 555 2671", "14155552671"),
        ("US", "14155552671", "14155552671"),
        ("CA", "416-555-0123", "14165550123"),
        ("DE", "0151 12345678", "4915112345678"),
        ("DE", "+49 (0) 151 / 12345678", "4915112345678"),
        ("FR", "06 12 34 56 78", "33612345678"),
        ("FR", "33612345678", "33612345678"),
        // Italy and Côte d'Ivoire keep the zero.
        ("IT", "06 1234 5678", "390612345678"),
        ("IT", "312 345 6789", "393123456789"),
        ("CI", "07 01 23 45 67", "2250701234567"),
        ("BR", "(11) 96123-4567", "5511961234567"),
        ("BR", "0 15 11 96123-4567", "5511961234567"),
        ("RU", "8 (912) 345-67-89", "79123456789"),
        ("RU", "79123456789", "79123456789"),
        // Argentina dials a 15 at home and a 9 from abroad.
        ("AR", "011 15-2345-6789", "5491123456789"),
        ("AR", "+54 9 11 2345-6789", "5491123456789"),
        ("MX", "55 1234 5678", "525512345678"),
        ("MX", "+52 55 1234 5678", "525512345678"),
        ("IN", "098765 43210", "919876543210"),
        ("JP", "090-1234-5678", "819012345678"),
        ("NU", "4002", "6834002"),
    ] {
        assert_eq!(msisdn(country, number).as_deref(), Ok(digits), "{country} {number}");
    }
}

#[test]
fn digits_that_begin_with_the_calling_code_mean_the_likelier_number() {
    for (country, number, digits) in [
        ("DE", "4915112345678", "4915112345678"),
        ("IN", "919876543210", "919876543210"),
        ("IT", "393331234567", "393331234567"),
        // An Italian mobile phone that begins with the calling code of Italy.
        ("IT", "3931234567", "393931234567"),
        // A place in Germany whose area code does, dialled with its trunk prefix.
        ("DE", "04951 12345", "49495112345"),
        ("IN", "9198765432", "919198765432"),
    ] {
        assert_eq!(msisdn(country, number).as_deref(), Ok(digits), "{country} {number}");
    }
}

#[test]
fn what_is_no_number_is_refused() {
    let long = "0".repeat(64 * 1024);
    let spaced = format!("+44 7700 900001{}", " ".repeat(64));
    for number in [
        "",
        "+",
        " ",
        "0",
        "12",
        "+44 7700",
        "+44 7700 900001 2345",
        "+447700900001447700900001",
        "0770090000a",
        "seven",
        "07700 CALL ME",
        "+44 7700 900001 ext. 12",
        "+44 7700 900001x12",
        "+44 7700 900001;ext=12",
        "+44 7700 900001#12",
        "tel:+447700900001",
        "07700900001,07700900002",
        "++447700900001",
        "44+7700900001",
        "07700900001+",
        "0770090000¹",
        "0770090000½",
        "07700\u{0}900001",
        "0770090000\u{1f600}",
        "+0 7700 900001",
        // Nobody has this calling code.
        "+999 7700 900001",
        "999",
        "112",
        &long,
        &spaced,
    ] {
        assert_eq!(msisdn("GB", number), Err(InvalidAddress::Msisdn), "{number:?}");
    }
    // Seven digits reach somebody in the same town only.
    assert_eq!(msisdn("US", "555 2671"), Err(InvalidAddress::Msisdn));
    // Germany has them, E.164 doesn't.
    assert_eq!(msisdn("DE", "+49 123456789012345"), Err(InvalidAddress::Msisdn));
}

#[test]
fn who_has_no_phone_numbers_is_no_country() {
    for country in ["", "ZZ", "G", "GBR", "001", "44", "ß", "UK", "G\u{0}", " GB", "AQ"] {
        assert_eq!(msisdn(country, "+447700900001"), Err(InvalidAddress::Country), "{country}");
        assert_eq!(country.parse::<Country>(), Err(UnknownCountry));
    }
    let country: Country = "gb".parse().unwrap();
    assert_eq!((country.as_str(), country.to_string().as_str()), ("GB", "GB"));
    assert!("FR".parse::<Country>().unwrap() < country);
}

#[test]
fn international_digits_need_no_country() {
    for digits in ["447700900001", "+44 7700 900001", "+44-(0)7700.900001", " 44 7700 900001 "] {
        assert_eq!(phone(digits).msisdn(), "447700900001", "{digits}");
    }
    for digits in ["", "+", "07700900001", "00447700900001", "44", "1234", "+44 7700 900001 x1"] {
        assert_eq!(Phone::of_digits(digits), Err(InvalidAddress::Msisdn), "{digits}");
    }
}

#[test]
fn the_country_is_the_numbers_not_the_callers() {
    let country = |digits: &str| phone(digits).country().map(|country| country.to_string());
    for (digits, expected) in [
        ("447400123456", Some("GB")),
        // Possible and no more: the largest of those who share the calling code.
        ("447700900001", Some("GB")),
        ("12345678910", Some("US")),
        ("447797712345", Some("JE")),
        ("14165550123", Some("CA")),
        ("18765550123", Some("JM")),
        ("77012345678", Some("KZ")),
        ("79123456789", Some("RU")),
        ("870773111632", None),
        ("881612345678", None),
    ] {
        assert_eq!(country(digits).as_deref(), expected, "{digits}");
    }
}

#[test]
fn a_number_says_what_it_is_for() {
    for (digits, kind) in [
        ("447400123456", NumberKind::Mobile),
        ("442079460000", NumberKind::FixedLine),
        ("12125550123", NumberKind::FixedLineOrMobile),
        ("18005552067", NumberKind::TollFree),
        ("19002345678", NumberKind::PremiumRate),
        ("449012345678", NumberKind::PremiumRate),
        ("4918012345678", NumberKind::SharedCost),
        ("445612345678", NumberKind::Voip),
        ("447012345678", NumberKind::PersonalNumber),
        ("447640123456", NumberKind::Pager),
        ("445512345678", NumberKind::Uan),
        ("49177991234567", NumberKind::Voicemail),
        ("447700900001", NumberKind::Unknown),
    ] {
        let phone = phone(digits);
        assert_eq!(phone.kind(), kind, "{digits}");
        assert!(!phone.is_satellite_or_global());
    }
}

#[test]
fn calling_codes_without_a_country_are_satellites_or_global() {
    for digits in [
        "80012345678",
        "80812345678",
        "870773111632",
        "878101234567890",
        "881612345678",
        "88216123456",
        "883510012345",
        "88812345678",
        "979123456789",
    ] {
        if let Ok(phone) = Phone::of_digits(digits) {
            assert!(phone.is_satellite_or_global(), "{digits}");
        }
    }
    assert!(phone("870773111632").is_satellite_or_global());
    assert!(phone("881612345678").is_satellite_or_global());
    assert!(phone("979123456789").is_satellite_or_global());
}

#[test]
fn the_international_form_is_for_people() {
    assert_eq!(phone("447700900001").international(), "+44 7700 900001");
    assert_eq!(phone("390612345678").international(), "+39 06 1234 5678");
    assert_eq!(phone("12125550123").international(), "+1 212-555-0123");
}

#[test]
fn debug_output_shows_no_number() {
    assert_eq!(format!("{:?}", phone("447700900001")), "Phone(…)");
}

fn countries() -> impl Strategy<Value = String> {
    let all: Vec<_> = PHONE_NUMBER_UTIL.get_supported_regions().map(|r| r.to_string()).collect();
    prop::sample::select(all)
}

proptest! {
    #[test]
    fn any_text_is_read_without_a_panic(country in "\\PC{0,3}|[A-Z]{2}", number in any::<String>()) {
        let _ = Phone::parse(&country, &number);
        let _ = Phone::of_digits(&number);
    }

    #[test]
    fn a_number_has_one_form(country in countries(), number in "(\\+|00|0)?[0-9 ()-]{4,18}") {
        if let Ok(phone) = Phone::parse(&country, &number) {
            let digits = phone.msisdn();
            prop_assert!((5..=15).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit()));
            prop_assert!(!digits.starts_with('0'));
            for again in [
                Phone::of_digits(digits),
                Phone::of_digits(&phone.international()),
                Phone::parse(&country, &format!("+{digits}")),
                Phone::parse("GB", &phone.international()),
            ] {
                prop_assert_eq!(again.as_ref().map(Phone::msisdn), Ok(digits));
            }
            let home = phone.country().map(|home| Phone::parse(home.as_str(), &format!("+{digits}")));
            prop_assert_eq!(home.map(|home| home.map(|home| home.msisdn)), phone.country().map(|_| Ok(digits.to_owned())));
        }
    }

    #[test]
    fn international_digits_have_one_form(digits in "[1-9][0-9]{3,16}") {
        if let Ok(phone) = Phone::of_digits(&digits) {
            let again = Phone::of_digits(phone.msisdn());
            prop_assert_eq!(again.as_ref().map(Phone::msisdn), Ok(phone.msisdn()));
        }
    }
}
