//! Whose password is right.

use super::{Directory, LONG_AGO_S, login, refused};

/// What each was made of.
const PASSWORD: &str = "Tr0ub4dor&3 é";

/// One of each form, made by other programs.
const HASHES: &[(&str, &str)] = &[
    ("bcrypt", "$2b$04$6CLMFT2hLe65n1.WmUrVv.YjZQSqRpp6fjJmKFV6MZJXi6NTEXDc."),
    (
        "argon2",
        "$argon2id$v=19$m=64,t=2,p=2$OHpNdpNL9fmdjmZGQ6qStA$eJERYyc2tl19FwwU6cTUWu4VivP7O3bR2vlX5Inq2UM",
    ),
    (
        "scrypt",
        "$scrypt$ln=4,r=8,p=1$FqJ0jhFiTKl1rvWeM8a4Fw$do/f7jD37VlE3q5V6YUogReiDRcevWcZYuxmzEUibvw",
    ),
    (
        "pbkdf2",
        "$pbkdf2-sha256$1000$OAeAUIrxHmPMGWMMQah1jg$/wZjArljgDFbl.YWQwqwqAB6kfvF/Tq7AWRGGjND6eY",
    ),
    ("sha256crypt", "$5$opensslsalt$RBQwuAfb/61QWFqoFq9ma5q4vCz8UUrxDWL5SWVc/53"),
    (
        "sha512crypt",
        "$6$opensslsalt$OFgu5hB6PPSxJ3XeVwhdn06zNPxRgvYPcLoqRvvcaScgqkp/CETzkgzIH629qLrcb1677DDhQR1BonZt42ZM10",
    ),
    ("django", "pbkdf2_sha256$1000$seasalt$7f5l3z7fECNYobc67WKlJ59h1kUdTLgSXV8z4l9AvU8="),
];

#[tokio::test]
async fn the_right_password_logs_in_by_each_form_of_hash_and_nothing_else_does() {
    let members = Directory::of_members();
    for (name, hash) in HASHES {
        members.add(name, &format!("{name}@example.org"), "0211 123456", hash, LONG_AGO_S);
    }
    let app = members.server("").await;
    for (name, hash) in HASHES {
        let mxid = format!("@{name}:example.org");
        let (called, addresses) = login(&app, &mxid, PASSWORD).await.unwrap();
        assert_eq!(called, format!("The {name}"));
        assert_eq!(addresses, [format!("{name}@example.org"), "49211123456".to_owned()]);
        for wrong in ["", "tr0ub4dor&3 é", &format!("{PASSWORD} "), hash, "' OR '1'='1"] {
            assert!(refused(&app, &mxid, wrong).await, "{name} {wrong}");
        }
    }
    for stranger in ["@nobody:example.org", "@bcrypt:other.example", "@BCRYPT:example.org"] {
        assert!(refused(&app, stranger, PASSWORD).await, "{stranger}");
    }
}

#[tokio::test]
async fn one_whose_hash_is_of_no_use_keeps_nobody_else_out() {
    let members = Directory::of_members();
    members.add("alice", "", "", HASHES[0].1, LONG_AGO_S);
    let useless = [
        ("plain", PASSWORD),
        ("md5", "$1$saltsalt$OPobOXxqhoMAYaocTHlKs/"),
        ("empty", ""),
        ("locked", "!"),
        ("torn", "$2b$04$6CLMFT2hLe65n1"),
        (
            "costly",
            "$argon2id$v=19$m=4000000,t=9,p=1$c2FsdHNhbHRzYWx0$obZlyv8OTt34773aeS4Xj95oQebYSeepr42k9Q03/hc",
        ),
    ];
    for (name, hash) in useless {
        members.add(name, "", "", hash, LONG_AGO_S);
    }
    let app = members.server("").await;
    for _ in 0..3 {
        for (name, hash) in useless {
            let mxid = format!("@{name}:example.org");
            for password in [PASSWORD, hash, ""] {
                assert!(refused(&app, &mxid, password).await, "{name} {password}");
            }
        }
    }
    assert!(login(&app, "@alice:example.org", PASSWORD).await.is_some());
    members.database.execute("UPDATE people SET active = false");
    assert!(login(&app, "@alice:example.org", PASSWORD).await.is_none());
}
