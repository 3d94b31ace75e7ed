//! The migrations of both databases make the tables that `src/store/schema.rs` names, no other,
//! and can be undone.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may fail")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use diesel::{
    Connection, QueryableByName, RunQueryDsl, SqliteConnection,
    backend::Backend,
    sql_query,
    sql_types::{Bool, Text},
};
use diesel_migrations::{FileBasedMigrations, MigrationHarness};
use syn::{
    Attribute, GenericArgument, Ident, Item, PathArguments, Token, Type, braced, parenthesized,
    parse::{Parse, ParseStream, Parser},
};

#[test]
fn both_databases_have_the_same_migrations_each_with_a_way_back() {
    assert!(!names("sqlite").is_empty());
    assert_eq!(names("sqlite"), names("postgres"));
    // What stands before the underscore is all that diesel tells them apart by.
    let versions: BTreeSet<String> = names("sqlite")
        .iter()
        .map(|name| name.split('_').next().unwrap_or_default().to_owned())
        .collect();
    assert_eq!(versions.len(), names("sqlite").len(), "two migrations have one version");
    for database in ["sqlite", "postgres"] {
        for name in names(database) {
            for direction in ["up.sql", "down.sql"] {
                let file = folder(database).join(&name).join(direction);
                let text = fs::read_to_string(&file).unwrap_or_default();
                assert!(!text.trim().is_empty(), "{} is missing or empty", file.display());
            }
        }
    }
}

/// The last migration of the time before nodes of two versions ran side by side.
const BEFORE_ROLLING_UPGRADES: &str = "2026-11-25-120000_invite_lookups";

/// What the nodes of the version before would stumble over. A migration that says why they don't, in
/// a line that begins so, contracts what they have ceased to use.
const CONTRACT: &str = "-- contract:";

#[test]
fn a_migration_takes_nothing_from_the_version_before_it() {
    let mut faults = Vec::new();
    for database in ["sqlite", "postgres"] {
        let later = names(database).into_iter().filter(|name| &**name > BEFORE_ROLLING_UPGRADES);
        for name in later {
            let text = fs::read_to_string(folder(database).join(&name).join("up.sql")).unwrap();
            if !text.lines().any(|line| line.starts_with(CONTRACT)) {
                faults.extend(taken(&text).map(|word| format!("{database}/{name}: {word}")));
            }
        }
    }
    assert!(faults.is_empty(), "see CONTRIBUTING.md, Add a migration: {faults:#?}");
}

/// The statements in a migration that take something away, or ask for more than before.
fn taken(sql: &str) -> impl Iterator<Item = String> {
    let code: String =
        sql.lines().map(|line| line.split("--").next().unwrap_or("").to_owned() + "\n").collect();
    let statements: Vec<String> = code
        .split(';')
        .map(|statement| statement.split_whitespace().collect::<Vec<_>>().join(" ").to_uppercase())
        .collect();
    let made: Vec<String> = statements
        .iter()
        .filter_map(|statement| statement.strip_prefix("CREATE TABLE "))
        .filter_map(|rest| Some(rest.split([' ', '(']).next()?.to_owned()))
        .collect();
    statements.into_iter().filter(move |statement| {
        let words = format!(" {statement} ");
        let alters_old = statement
            .strip_prefix("ALTER TABLE ")
            .is_some_and(|rest| !made.iter().any(|table| rest.split(' ').next() == Some(&**table)));
        statement.starts_with("DROP ")
            || statement.starts_with("TRUNCATE ")
            || alters_old
                && ([" DROP ", " RENAME ", " TYPE ", " SET NOT NULL "]
                    .iter()
                    .any(|word| words.contains(word))
                    || words.contains(" ADD ")
                        && words.contains(" NOT NULL ")
                        && !words.contains(" DEFAULT "))
    })
}

#[test]
fn what_a_migration_takes_away_is_found() {
    let sql = "CREATE TABLE new (id BIGINT); ALTER TABLE new DROP COLUMN id; -- DROP TABLE old
        ALTER TABLE old ADD COLUMN a TEXT; ALTER TABLE old ADD COLUMN b TEXT NOT NULL DEFAULT '';
        DROP TABLE old; TRUNCATE old; ALTER TABLE old RENAME TO older;
        ALTER TABLE old ADD COLUMN c TEXT NOT NULL; ALTER TABLE old ALTER a TYPE BIGINT;
        ALTER TABLE old DROP COLUMN a; ALTER TABLE old ALTER COLUMN a SET NOT NULL;";
    assert_eq!(taken(sql).count(), 7, "{:?}", taken(sql).collect::<Vec<_>>());
}

#[test]
fn sqlite_gets_the_tables_of_the_schema_and_loses_them_again() {
    let mut conn = SqliteConnection::establish(":memory:").unwrap();
    let expected = columns_of_schema(|kind| match kind {
        "Binary" => "BLOB",
        "BigInt" => "BIGINT",
        "Bool" => "BOOLEAN",
        "Integer" => "INTEGER",
        "Text" => "TEXT",
        _ => panic!("say here what {kind} is on SQLite"),
    });
    up_down_up(&mut conn, "sqlite", &expected, |conn| {
        let found = sql_query(
            "SELECT t.name || '.' || c.name AS name, c.type AS kind, c.\"notnull\" AS required \
             FROM sqlite_schema t, pragma_table_info(t.name) c WHERE t.type = 'table'",
        );
        columns(found.load(conn).unwrap())
    });
}

/// Looks at PostgreSQL where `TEST_DATABASE_URL` names one, as it does in a step of `tests/run`.
#[cfg(feature = "postgres")]
#[test]
fn postgresql_gets_the_tables_of_the_schema_and_loses_them_again() {
    use diesel::{PgConnection, connection::SimpleConnection};
    let Ok(url) = std::env::var("TEST_DATABASE_URL") else { return };
    let expected = columns_of_schema(|kind| match kind {
        "Binary" => "bytea",
        "BigInt" => "bigint",
        "Bool" => "boolean",
        "Integer" => "integer",
        "Text" => "text",
        _ => panic!("say here what {kind} is on PostgreSQL"),
    });
    let mut conn = PgConnection::establish(&url).unwrap();
    // Nothing of it is committed.
    conn.test_transaction::<_, diesel::result::Error, _>(|conn| {
        conn.batch_execute("CREATE SCHEMA migrations; SET LOCAL search_path = migrations")?;
        up_down_up(conn, "postgres", &expected, |conn| {
            let found = sql_query(
                "SELECT table_name || '.' || column_name AS name, data_type::text AS kind, \
                 is_nullable = 'NO' AS required \
                 FROM information_schema.columns WHERE table_schema = current_schema()",
            );
            columns(found.load(conn).unwrap())
        });
        Ok(())
    });
}

fn folder(database: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations").join(database)
}

fn names(database: &str) -> BTreeSet<String> {
    let entries = fs::read_dir(folder(database)).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

/// The type of each `table.column`, and whether it is `NOT NULL`.
type Columns = BTreeMap<String, (String, bool)>;

#[derive(QueryableByName)]
struct Column {
    #[diesel(sql_type = Text)]
    name: String,
    #[diesel(sql_type = Text)]
    kind: String,
    #[diesel(sql_type = Bool)]
    required: bool,
}

/// Those of the program; diesel keeps a table of its own beside them.
fn columns(found: Vec<Column>) -> Columns {
    let ours = found.into_iter().filter(|column| !column.name.starts_with("__diesel"));
    ours.map(|column| (column.name, (column.kind, column.required))).collect()
}

fn up_down_up<C, B: Backend>(
    conn: &mut C,
    database: &str,
    expected: &Columns,
    read: fn(&mut C) -> Columns,
) where
    C: MigrationHarness<B>,
{
    let migrations = FileBasedMigrations::from_path(folder(database)).unwrap();
    conn.run_pending_migrations(migrations.clone()).unwrap();
    assert_eq!(&read(conn), expected);
    conn.revert_all_migrations(migrations.clone()).unwrap();
    assert_eq!(read(conn), Columns::new());
    conn.run_pending_migrations(migrations).unwrap();
    assert_eq!(&read(conn), expected);
}

/// The columns that the `table!` macros declare, with the types that `name_of` gives them.
fn columns_of_schema(name_of: fn(&str) -> &'static str) -> Columns {
    let schema = syn::parse_file(include_str!("../src/store/schema.rs")).unwrap();
    let mut columns = Columns::new();
    for item in schema.items {
        let Item::Macro(table) = item else { continue };
        if table.mac.path.segments.last().is_some_and(|name| name.ident == "table") {
            for (name, kind, required) in table_columns.parse2(table.mac.tokens).unwrap() {
                columns.insert(name, (name_of(&kind).to_owned(), required));
            }
        }
    }
    assert!(!columns.is_empty());
    columns
}

/// Parses `table (key) { column -> Type, }`.
fn table_columns(input: ParseStream) -> syn::Result<Vec<(String, String, bool)>> {
    let (key, body);
    input.call(Attribute::parse_outer)?;
    let table: Ident = input.parse()?;
    parenthesized!(key in input);
    key.parse_terminated(Ident::parse, Token![,])?;
    braced!(body in input);
    let columns = body.parse_terminated(column, Token![,])?;
    let full = columns.into_iter().map(|(name, kind)| {
        let (kind, required) = sql_type(&kind);
        (format!("{table}.{name}"), kind, required)
    });
    Ok(full.collect())
}

fn column(input: ParseStream) -> syn::Result<(Ident, Type)> {
    input.call(Attribute::parse_outer)?;
    let name = input.parse()?;
    input.parse::<Token![->]>()?;
    Ok((name, input.parse()?))
}

/// The last word of a type, without its `Nullable`, and whether there was none.
fn sql_type(kind: &Type) -> (String, bool) {
    let Type::Path(path) = kind else { panic!("a column's type is a path") };
    let word = path.path.segments.last().unwrap();
    match &word.arguments {
        PathArguments::AngleBracketed(inner) if word.ident == "Nullable" => {
            let Some(GenericArgument::Type(inner)) = inner.args.first() else {
                panic!("Nullable has a type")
            };
            (sql_type(inner).0, false)
        }
        _ => (word.ident.to_string(), true),
    }
}
