//! What is said about the queries of a directory.

use super::load;

const HEAD: &str = "[[directories]]\nname = \"a\"\ntype = \"sql\"\nmxid = \"@{uid}:hs.example\"\n\
                    [directories.sql]\nurl = \"sqlite:people.db\"\n";

#[test]
fn a_query_is_refused_that_can_not_be_asked_or_not_with_what_is_known() {
    let queries = r#"find = "SELECT a AS uid FROM b WHERE c = :adress"
login = "SELECT a AS password_hash FROM b WHERE c = ?"
threepids = "SELECT email FROM b"
people = "SELECT a AS uid FROM b WHERE a > :after AND d = ':limit'"
changes = "SELECT a AS uid FROM b WHERE c > :since; DROP TABLE b"
search = "SELECT a AS uid FROM b WHERE c = :address AND d LIKE :pattern LIMIT :limit"
"#;
    insta::assert_snapshot!(load(&format!("{HEAD}{queries}"), &[]).unwrap_err(), @r#"
    config.toml:7: directories[0].sql.find: nothing is called :adress
        write for example: find = "SELECT login AS uid FROM people WHERE :medium = 'email' AND email = :address"
    config.toml:8: directories[0].sql.login: parameters are written by their names, such as :address
        write for example: login = "SELECT password_hash, name FROM people WHERE login = :uid"
    config.toml:9: directories[0].sql.threepids: :uid or :mxid is missing from the query
        write for example: threepids = "SELECT email, phone AS msisdn FROM people WHERE login = :uid"
    config.toml:10: directories[0].sql.people: :limit is missing from the query
        write for example: people = "SELECT login AS uid, email FROM people WHERE login > :after ORDER BY login LIMIT :limit"
    config.toml:11: directories[0].sql.changes: it is one query, without ; in it
        write for example: changes = "SELECT login AS uid, email FROM people WHERE changed_at >= :since AND login > :after ORDER BY login LIMIT :limit"
    config.toml:12: directories[0].sql.search: :address is not known to this query
        known here: :pattern, :term, :limit
    "#);
    let none = HEAD.replace("{uid}", "{login}");
    insta::assert_snapshot!(load(&none, &[]).unwrap_err(), @r#"
    config.toml:4: directories[0].mxid: the queries of a database select what a person is called as uid
        write for example: mxid = "@{uid}:example.org"
    config.toml:5: directories[0].sql.find: missing; expected a query
        write for example: find = "SELECT login AS uid FROM people WHERE :medium = 'email' AND email = :address"
    "#);
    let elsewhere = HEAD.replace("sqlite:people.db", "mysql://root@localhost/people");
    insta::assert_snapshot!(load(&elsewhere, &[]).unwrap_err(), @r#"
    config.toml:5: directories[0].sql.find: missing; expected a query
        write for example: find = "SELECT login AS uid FROM people WHERE :medium = 'email' AND email = :address"
    config.toml:6: directories[0].sql.url: names no database that Bindery knows
        write sqlite:path/to/bindery.db or postgres://user@host/database
    "#);
}
