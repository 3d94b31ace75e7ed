//! The command line.

mod account;
mod keys;
mod serve;

use std::{
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
};

use clap::{CommandFactory, Parser, Subcommand};

use crate::{config::Config, store::Store};

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
    #[arg(long, global = true, value_name = "FILE", env = "BINDERY_CONFIG")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the server
    Serve,
    /// Bring the database's schema up to date (`serve` does that, too)
    Migrate,
    /// Look at the configuration
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Make and show the keys that sign associations
    #[command(subcommand)]
    Keys(keys::Command),
    /// Manage the accounts of users
    #[command(subcommand)]
    Account(account::Command),
    /// Print a completion script for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

#[derive(Subcommand)]
enum ConfigCommand {
    /// Say all that is wrong with the configuration, or that nothing is
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
    if let Command::Completions { shell } = cli.command {
        clap_complete::generate(shell, &mut Cli::command(), "bindery", &mut io::stdout());
        return ExitCode::SUCCESS;
    }
    let config = match Config::load(cli.config.as_deref(), environment()) {
        Ok(config) => config,
        Err(faults) => {
            complain(&faults.to_string());
            return ExitCode::from(MISCONFIGURED);
        }
    };
    match carry_out(cli.command, config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&format!("bindery: {error:#}"));
            ExitCode::from(FAILED)
        }
    }
}

/// The variables whose name and value are text; no other can be a key of the configuration.
fn environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
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
        Command::Completions { .. } => Ok(()),
    }
}

fn in_runtime(work: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(work)
}

/// Prints a line for the person at the terminal, or for a program that reads it.
fn say(line: &str) -> anyhow::Result<()> {
    writeln!(io::stdout(), "{line}")?;
    Ok(())
}

/// Prints what went wrong. Where that can't be printed there is nobody to read it.
fn complain(message: &str) {
    let _ = writeln!(io::stderr(), "{message}");
}
