//! The command line, a file per subcommand.

mod apply;
mod backup;
mod completions;
mod demo;
mod deploy;
mod describe;
mod dev;
mod doctor;
mod env;
mod invocations;
mod invoke;
mod key;
mod later;
mod list;
mod logs;
mod new;
mod openapi;
mod queue;
mod remove;
mod revisions;
mod schedule;
mod secret;
mod top;
mod up;

use crate::{client::ServerArguments, failure::Failure, output::Format};
use clap::{Parser, Subcommand};

/// Runs functions on one machine or many: what is written for other platforms, and what you write today.
#[derive(Debug, Parser)]
#[command(name = "xebec", version, propagate_version = true, max_term_width = 100)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) server: ServerArguments,
    /// How to print results
    #[arg(
        short,
        long,
        global = true,
        help_heading = "Output",
        value_enum,
        default_value_t,
        value_name = "FORMAT"
    )]
    pub(crate) output: Format,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Start the server
    Up(up::Up),
    /// Start a throw-away server, deploy examples, call and measure them
    Demo(demo::Demo),
    /// Make a folder with a function to start from
    New(new::New),
    /// Deploy the function of a folder
    Deploy(deploy::Deploy),
    /// Bring the server to what stack files of faas-cli say
    Apply(apply::Apply),
    /// Deploy on every save
    Dev(dev::Dev),
    /// Call a function
    #[command(alias = "call")]
    Invoke(invoke::Invoke),
    /// List functions
    #[command(name = "ls", alias = "list")]
    List(list::List),
    /// Show one function
    Describe(describe::Describe),
    /// Show what functions print
    Logs(logs::Logs),
    /// See what was called and how it ended; make calls again
    Invocations(invocations::Invocations),
    /// Remove functions
    #[command(name = "rm", alias = "remove")]
    Remove(remove::Remove),
    /// Show or change a function's environment variables
    Env(env::Env),
    /// Keep secrets for functions
    Secret(secret::Secret),
    /// Issue, list and revoke keys
    Key(key::Key),
    /// List a function's revisions
    Revisions(revisions::Revisions),
    /// Send all calls to an older revision
    Rollback(revisions::Rollback),
    /// Split calls over revisions
    Traffic(revisions::TrafficSplit),
    /// See and steer calls that wait to be made
    Queue(queue::Queue),
    /// Have functions called at certain times
    Schedule(schedule::Schedule),
    /// Watch functions and queues, live
    Top(top::Top),
    /// Copy all state of a running server into an empty folder
    Backup(backup::Backup),
    /// Make a data directory from a backup
    Restore(backup::Restore),
    /// Check this machine and the server
    Doctor(doctor::Doctor),
    /// Print the description of the native API
    #[command(name = "openapi")]
    OpenApi(openapi::OpenApi),
    /// Print a completion script for a shell
    Completions(completions::Completions),
}

/// Runs one command.
pub(crate) async fn run(arguments: Arguments) -> Result<(), Failure> {
    let Arguments { server, output, command } = arguments;
    let (server, format) = (&server, output);
    match command {
        Command::Up(command) => Box::pin(command.run()).await,
        Command::Demo(command) => Box::pin(command.run(format)).await,
        Command::New(command) => command.run(),
        Command::Deploy(command) => command.run(server, format).await,
        Command::Apply(command) => Box::pin(command.run(server, format)).await,
        Command::Dev(command) => Box::pin(command.run(server)).await,
        Command::Invoke(command) => command.run(server, format).await,
        Command::List(command) => command.run(server, format).await,
        Command::Describe(command) => command.run(server, format).await,
        Command::Logs(command) => command.run(server, format).await,
        Command::Invocations(command) => Box::pin(command.run(server, format)).await,
        Command::Remove(command) => command.run(server).await,
        Command::Env(command) => command.run(server, format).await,
        Command::Secret(command) => command.run(server, format).await,
        Command::Key(command) => command.run(server, format).await,
        Command::Revisions(command) => command.run(server, format).await,
        Command::Rollback(command) => command.run(server, format).await,
        Command::Traffic(command) => command.run(server, format).await,
        Command::Queue(command) => Box::pin(command.run(server, format)).await,
        Command::Schedule(command) => Box::pin(command.run(server, format)).await,
        Command::Top(command) => Box::pin(command.run(server, format)).await,
        Command::Backup(command) => command.run(server, format).await,
        Command::Restore(command) => command.run(),
        Command::Doctor(command) => Box::pin(command.run(server, format)).await,
        Command::OpenApi(command) => command.run(),
        Command::Completions(command) => command.run(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_holds_together() {
        Arguments::command().debug_assert();
    }
}
