//! The command line.

mod account;
mod cursor;
mod directories;
mod invites;
mod keys;
mod peers;
mod quarantine;
mod serve;
mod steps;
mod templates;

use std::{
    io::{self, ErrorKind, Write},
    path::PathBuf,
    process::ExitCode,
    time::{Duration, SystemTime},
};

use clap::{CommandFactory, Parser, Subcommand};

use crate::{
    config::{Config, Database, DatabaseKind},
    messages::Messages,
    store::Store,
};

/// A Matrix identity server: proves that people own an e-mail address, binds it to their Matrix
/// id, and lets others find them by it.
#[derive(Parser)]
#[command(
    name = "bindery",
    version,
    after_help = "Without a configuration file, `bindery serve` runs at once on 127.0.0.1:8090 \
                  and keeps its data in ./bindery-data.\n\nEvery key of the configuration can be \
                  set in the environment, too: BINDERY_SERVER__NAME=id.example.org sets `name` in \
                  `[server]`.\n\nExit codes: 0 done; 1 failed; 2 wrong usage or configuration."
)]
struct Cli {
    /// The configuration, a TOML file
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "BINDERY_CONFIG",
        hide_env_values = true
    )]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the server
    #[command(
        after_help = "The first start makes the database and the signing key. A start brings \
                            an older database up to date and refuses a newer one.\n\nSIGTERM or \
                            Ctrl-C lets requests end, for 8 seconds at most; a second one stops at \
                            once. The log goes to standard error."
    )]
    Serve,
    /// Make the database, or bring its schema up to date (`serve` does that, too)
    Migrate,
    /// Check the configuration
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Make and show the keys that sign associations
    #[command(subcommand)]
    Keys(keys::Command),
    /// Give users access tokens and take them back
    #[command(
        subcommand,
        after_help = "These work on the database, whether or not the server runs. Run them in the \
                      server's folder, or with the server's configuration."
    )]
    Account(account::Command),
    /// See which invitations wait, and deliver or revoke them
    #[command(subcommand)]
    Invites(invites::Command),
    /// See what people read: list, show and preview the templates of mails and pages
    #[command(
        subcommand,
        after_help = "These need the configuration and no database. docs/messages.md tells how \
                      templates and words are overridden."
    )]
    Templates(templates::Command),
    /// See the organisation's directories, try them step by step, copy them, look addresses up there
    #[command(subcommand, after_help = "docs/directories.md tells how to set them up.")]
    Directories(directories::Command),
    /// See which other identity servers are asked, try them step by step, see what neighbours sent
    #[command(subcommand)]
    Peers(PeersCommand),
    /// Print a completion script for a shell
    #[command(after_help = "For bash: bindery completions bash > \
                            ~/.local/share/bash-completion/completions/bindery")]
    Completions {
        /// The shell it is for
        shell: clap_complete::Shell,
    },
}

#[derive(Subcommand)]
enum PeersCommand {
    #[command(flatten)]
    Ask(peers::Command),
    /// See how far a neighbour was told, and pass over what it refuses
    #[command(
        after_help = "Works on the database, whether or not the server runs; a server that runs goes \
                      on within half a minute."
    )]
    Cursor(cursor::Arguments),
    /// See what neighbours replicated that can't be believed
    #[command(subcommand)]
    Quarantine(quarantine::Command),
}

#[derive(Subcommand)]
enum ConfigCommand {
    /// Say all that is wrong with the configuration, or that nothing is
    #[command(after_help = "Reads the file and the environment, and looks whether the files that \
                            they name can be read. Connects to nothing.")]
    Check,
}

/// A command failed: nothing was, or could be, done.
const FAILED: u8 = 1;
/// The configuration is wrong; clap uses the same for wrong usage.
const MISCONFIGURED: u8 = 2;

/// Runs the command that the arguments name.
#[must_use]
pub fn run() -> ExitCode {
    let cli = Cli::parse();
    // Needs no configuration, which may be wrong.
    if let Command::Completions { shell } = cli.command {
        return exit(say(&completions(shell)));
    }
    let config = match Config::load(cli.config.as_deref(), environment()) {
        Ok(config) => config,
        Err(faults) => {
            complain(&faults.to_string());
            return ExitCode::from(MISCONFIGURED);
        }
    };
    // Where texts are of use they have to be right, and all faults are told, each in its line.
    if let Command::Serve | Command::Config(_) | Command::Templates(_) = cli.command
        && let Err(error) = Messages::new(&config)
    {
        complain(&error.to_string());
        return ExitCode::from(MISCONFIGURED);
    }
    exit(carry_out(cli.command, config))
}

fn exit(done: anyhow::Result<()>) -> ExitCode {
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // One line: libpq's messages have several.
            let causes = format!("{error:#}");
            let causes = causes.split_whitespace().collect::<Vec<_>>().join(" ");
            complain(&format!("bindery: {causes}"));
            ExitCode::from(FAILED)
        }
    }
}

/// The variables whose name and value are text; no other can be a key of the configuration.
fn environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}

fn completions(shell: clap_complete::Shell) -> String {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "bindery", &mut script);
    String::from_utf8_lossy(&script).trim_end().to_owned()
}

fn carry_out(command: Command, config: Config) -> anyhow::Result<()> {
    match command {
        Command::Serve => in_runtime(serve::serve(config)),
        Command::Migrate => {
            Store::open(&config.database)?;
            say("The database is up to date.")
        }
        Command::Config(ConfigCommand::Check) => say("The configuration is fine."),
        Command::Keys(command) => keys::run(&command, &config),
        Command::Account(command) => in_runtime(account::run(command, config)),
        Command::Templates(command) => templates::run(command, &config),
        Command::Invites(command) => in_runtime(invites::run(command, config)),
        Command::Directories(command) => in_runtime(directories::run(command, config)),
        Command::Peers(PeersCommand::Cursor(arguments)) => {
            in_runtime(cursor::run(arguments, config))
        }
        Command::Peers(PeersCommand::Quarantine(command)) => {
            in_runtime(quarantine::run(command, config))
        }
        Command::Peers(PeersCommand::Ask(command)) => in_runtime(peers::run(command, config)),
        Command::Completions { .. } => Ok(()),
    }
}

/// Opens the database, but makes none in passing: in the wrong folder that would look like success,
/// and the server would know nothing of it.
fn existing_store(database: &Database) -> anyhow::Result<Store> {
    match database.kind() {
        DatabaseKind::Sqlite(path) if !path.exists() => anyhow::bail!(
            "there is no database {}: run this in the folder of the server, or name the server's \
             configuration by `--config` (`bindery serve` and `bindery migrate` make a database)",
            path.display()
        ),
        _ => Ok(Store::open(database)?),
    }
}

fn in_runtime(work: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let done = runtime.block_on(work);
    // A thread that hangs on the database must not keep the process alive.
    runtime.shutdown_timeout(Duration::from_millis(500));
    done
}

/// Prints a line for the person at the terminal, or for a program that reads it. That nobody
/// reads on, as after `| head -n 1`, is no fault.
fn say(line: &str) -> anyhow::Result<()> {
    match writeln!(io::stdout(), "{line}") {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

/// Prints what went wrong. Where that can't be printed there is nobody to read it.
fn complain(message: &str) {
    let _ = writeln!(io::stderr(), "{message}");
}

/// The last second of the year 9999, the last that the format of [`date`] can hold; in milliseconds
/// since the Unix epoch.
const LAST_DATE: i64 = 253_402_300_799_000;

/// A time, in milliseconds since the Unix epoch, as people read it.
fn date(ms: i64) -> String {
    let since_epoch = Duration::from_millis(ms.clamp(0, LAST_DATE).unsigned_abs());
    httpdate::fmt_http_date(SystemTime::UNIX_EPOCH + since_epoch)
}
