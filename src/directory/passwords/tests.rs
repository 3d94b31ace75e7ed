//! Hashes that other programs made of one password: passlib 1.7.4, argon2-cffi, Python's bcrypt,
//! libxcrypt, OpenSSL, Python's hashlib and Django 5.2.

use proptest::prelude::*;

use super::*;

const PASSWORD: &str = "Tr0ub4dor&3 é";

const HASHES: &[&str] = &[
    "$2a$04$cF4uwk47OAVJGs6Hn6fAfeMTKP7Pexm5oOUxGFySNWXwvi5EWhN5e",
    "$2b$04$6CLMFT2hLe65n1.WmUrVv.YjZQSqRpp6fjJmKFV6MZJXi6NTEXDc.",
    "$2y$04$abcdefghijklmnopqrstuuGsEqYM4ZesCW9aJC48RbTfxA7HwUsXm",
    "{BLF-CRYPT}$2y$04$abcdefghijklmnopqrstuuGsEqYM4ZesCW9aJC48RbTfxA7HwUsXm",
    "$wp$2y$04$abcdefghijklmnopqrstuuzayh2keNtNFHUY6P6rVzgoHY/G/vtG.",
    "$argon2id$v=19$m=64,t=2,p=2$OHpNdpNL9fmdjmZGQ6qStA$eJERYyc2tl19FwwU6cTUWu4VivP7O3bR2vlX5Inq2UM",
    "$argon2i$v=19$m=64,t=2,p=2$Ch47+sp1VfWEQeVmojowVQ$LFCJ8pBP/wwVrE+yriu7ANrnxMkET8Jtc3V+UFD7NJk",
    "$argon2d$v=19$m=64,t=2,p=2$napWTpMyhiZNz1M//L3s4A$BcLNNwNGi8u1D03KhsDF7r6pzl7Zbxd593shDawWcFo",
    "$argon2i$v=16$m=64,t=2,p=1$c2FsdHNhbHRzYWx0$obZlyv8OTt34773aeS4Xj95oQebYSeepr42k9Q03/hc",
    "$argon2i$m=64,t=2,p=1$c2FsdHNhbHRzYWx0$obZlyv8OTt34773aeS4Xj95oQebYSeepr42k9Q03/hc",
    "$scrypt$ln=4,r=8,p=1$FqJ0jhFiTKl1rvWeM8a4Fw$do/f7jD37VlE3q5V6YUogReiDRcevWcZYuxmzEUibvw",
    "$7$22..../....SodiumChloride$fRquVEIk.JDo/gDwT9jBzALcT99EEx9D2W8WfMs3ZU.",
    "$pbkdf2-sha256$1000$OAeAUIrxHmPMGWMMQah1jg$/wZjArljgDFbl.YWQwqwqAB6kfvF/Tq7AWRGGjND6eY",
    "$pbkdf2-sha512$1000$Y0zp3dubEwKAsBaCsPY.xw$JouGXrZFMNJJnGGpCG7ViqA61q24ieGCs3Bzn1Gq06aS7IdjZu0D5lDxFY1/FsCGOuPu1ZrJd3G3DVzvoi0MAQ",
    "$pbkdf2-sha256$i=1000,l=40$c2FsdHNhbHQ$cM5NBpY15Zc/ncSnXd9TiLPCIA1vNTC2zn6jIT9WHAxaRGhP6PXvdA",
    "$pbkdf2-sha512$i=1000$c2FsdHNhbHQ$BzC6Txm6WsCKoM15l+H0D5jA9txX2VUQAOxuiG0xDXJhZL0so5MYoRyse+DezQc9sz8sBsWSD84aFpElacQHZw",
    "$5$rounds=1000$saltstring$WKGwQC5Vmc8kLGnAnXAnDQwc1IBc5OJrpJqJ7MJ6xkC",
    "$6$rounds=1000$saltstring$vJTGJMbVPQP6TjNjedGf26JRCi9YX2iH7V42HaG8U.OB1qjHnI4jzChmxO3TDGfCJ8YomIMMdNUmEN62l5Kvy0",
    "$6$saltstring$zSp0vOlKPItpIULXlbly.8OkNhWrboclmg1L7y2whSBqEcOjeGxI7HDouLCv71A2h00UFk5rov4StXyYifwPZ0",
    "$5$saltstringthatis$FmS9BXAQHlGgmFDbRREq3Epdpw11n9OXLyPx9Ha.CX9",
    "$5$opensslsalt$RBQwuAfb/61QWFqoFq9ma5q4vCz8UUrxDWL5SWVc/53",
    "{CRYPT}$6$opensslsalt$OFgu5hB6PPSxJ3XeVwhdn06zNPxRgvYPcLoqRvvcaScgqkp/CETzkgzIH629qLrcb1677DDhQR1BonZt42ZM10",
    "pbkdf2_sha256$1000$seasalt$7f5l3z7fECNYobc67WKlJ59h1kUdTLgSXV8z4l9AvU8=",
    "scrypt$16$seasalt$8$5$QQNK/exdFb2NIHAhEedtOyUobM6R/ggWeWhyseIkDPG2f0lDpYKxtxTz1SntbmZUuuaqo2PK0YoK4YSjiU690g==",
    "argon2$argon2id$v=19$m=64,t=2,p=1$c2Vhc2FsdHNlYXNhbHQ$MvVolQz0DrnBDhnJAdhPQAUQX9KjwoTVR0K6BtEVt48",
    "bcrypt_sha256$$2b$04$udOHmdgP6lFkZpJRQGwlIe6lST7lyV3.aozfFMyfsa4m1SxJO7kTi",
    "bcrypt$$2b$04$sYa9gPFqMgovBxPxttH8weW7TwimlhxrZ8Quuvyn86S3JjBKr5KPa",
    // What a column of a fixed width adds.
    "$5$opensslsalt$RBQwuAfb/61QWFqoFq9ma5q4vCz8UUrxDWL5SWVc/53     ",
];

#[test]
fn the_password_is_known_by_each_form_of_hash_and_no_other_is() {
    for hash in HASHES {
        assert_eq!(verify(PASSWORD, hash), Ok(true), "{hash}");
        for other in ["", " ", "tr0ub4dor&3 é", "Tr0ub4dor&3 é ", "Tr0ub4dor&3 \u{e9}\0", hash] {
            assert_eq!(verify(other, hash), Ok(false), "{hash} {other:?}");
        }
    }
    // The mistake of 2x is in letters beyond ASCII only.
    let flawed = "$2x$04$abcdefghijklmnopqrstuuCi15uRb1eH7NAlJ/TgeJertyknQpYn2";
    assert_eq!(verify("abc", flawed), Ok(true));
    assert_eq!(verify(&"x".repeat(LONGEST_PASSWORD + 1), flawed), Ok(false));
}

#[test]
fn what_is_no_hash_is_refused_by_the_name_of_its_form_and_not_shown() {
    let form = PasswordError::Form;
    for (stored, name) in [
        (PASSWORD, "plain text, or a hash that does not say what it is"),
        ("5f4dcc3b5aa765d61d8327deb882cf99", "plain text, or a hash that does not say what it is"),
        ("abWL7Sj501Z46", "plain text, or a hash that does not say what it is"),
        ("$P$5Ad/mlBq046SJhsBCoFdRg0lg94olP0", "phpass, an old form of WordPress"),
        ("$1$saltsalt$OPobOXxqhoMAYaocTHlKs/", "MD5-crypt"),
        ("$y$j9T$abcdefgh$jBJn5NCc5.eUG.bab85jkYqqq0QFTv9UjYdYDwYU1m4", "yescrypt"),
        ("{SSHA}O6edxVBtkW8QxvM616mLRGy2fvWM8V6L", "a salted SHA of LDAP"),
        ("$pbkdf2$1000$AaDUmjNmzHlPSYnROmcM4Q$yr44NzbN6YQJBX2dWcBy9tssDUA", "PBKDF2 with SHA-1"),
    ] {
        assert_eq!(verify(stored, stored), Err(form(name)), "{stored}");
        let said = form(name).to_string();
        assert!(!said.contains(stored) && !said.contains(PASSWORD), "{said}");
    }
}

#[test]
fn who_has_no_password_is_let_in_by_none() {
    for stored in ["", "   ", "!", "*", "*LK*", "!$6$saltstring$zSp0vOlKPItpIULXlbly", "!z9KpkGa6L"]
    {
        for password in [PASSWORD, "", "!", "*", stored] {
            assert_eq!(verify(password, stored), Ok(false), "{stored:?} {password:?}");
        }
    }
}

#[test]
fn a_hash_that_would_eat_memory_or_time_is_refused_unread() {
    let salt = "c2FsdHNhbHRzYWx0$obZlyv8OTt34773aeS4Xj95oQebYSeepr42k9Q03/hc";
    for hash in [
        "$2b$16$6CLMFT2hLe65n1.WmUrVv.YjZQSqRpp6fjJmKFV6MZJXi6NTEXDc.",
        "$2b$31$6CLMFT2hLe65n1.WmUrVv.YjZQSqRpp6fjJmKFV6MZJXi6NTEXDc.",
        &format!("$argon2id$v=19$m=262145,t=1,p=1${salt}"),
        &format!("$argon2id$v=19$m=4294967295,t=1,p=1${salt}"),
        &format!("$argon2id$v=19$m=64,t=4294967295,p=1${salt}"),
        &format!("$scrypt$ln=19,r=8,p=1${salt}"),
        &format!("$scrypt$ln=63,r=8,p=1${salt}"),
        &format!("$scrypt$ln=200,r=4294967295,p=4294967295${salt}"),
        &format!("$scrypt$ln=4,r=8,p=4294967295${salt}"),
        "$7$zzzzzzzzzzzSodiumChloride$FmC2bXPZC9DKv1.AGyDaLn7FfRtBSwvW2ddEUFOr7c2",
        &format!("$pbkdf2-sha256$i=5000001${salt}"),
        "$6$rounds=999999999$saltstring$vJTGJMbVPQP6TjNjedGf26JRCi9YX2iH7V42HaG8U",
    ] {
        let refused = verify(PASSWORD, hash);
        assert!(matches!(refused, Err(PasswordError::Costly(_))), "{hash} {refused:?}");
    }
}

#[test]
fn a_part_of_a_hash_lets_nobody_in() {
    for hash in HASHES {
        // PBKDF2 gives as much as is asked for: half of a key is a key as well. What counts is that
        // nothing short is one.
        let last = hash.rfind('$').unwrap();
        for end in (1..last + 22).step_by(3).filter(|end| hash.is_char_boundary(*end)) {
            assert_ne!(verify(PASSWORD, &hash[..end]), Ok(true), "{}", &hash[..end]);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_stored_text_makes_it_fall_over(
        hash in 0..HASHES.len(),
        at in 0_usize..120,
        byte in "[ -~é]",
    ) {
        let mut stored: Vec<char> = HASHES[hash].chars().collect();
        let at = at % stored.len();
        stored[at] = byte.chars().next().unwrap();
        let stored: String = stored.into_iter().collect();
        // A change of the cost may make the check take its time, so that is left out.
        prop_assume!(!stored.starts_with("$2") || !(4..6).contains(&at));
        prop_assume!(at > 30 || !byte.bytes().all(|byte| byte.is_ascii_digit()));
        if verify(PASSWORD, &stored) == Ok(true) {
            prop_assert!(verify("another", &stored) != Ok(true));
        }
    }
}
