//! One file per verb: arguments in, engine, answers out.

mod backup;
mod cat;
mod changed;
mod check;
mod diff;
mod document;
mod init;
mod key;
mod lost;
mod ls;
mod manifests;
mod prune;
mod repair;
mod restore;
mod retention;
mod select;
mod show;
mod snapshots;
mod stats;

use crate::args::{Cli, Command};
use crate::context::Context;
use crate::exit::Failure;
use clap::CommandFactory;

/// Does what the command line says.
pub(crate) async fn run(context: &Context, command: Command) -> Result<(), Failure> {
    match command {
        Command::Init(args) => init::run(context, args).await,
        Command::Backup(args) => backup::run(context, args).await,
        Command::Snapshots(args) => snapshots::run(context, args).await,
        Command::Show(args) => show::run(context, args).await,
        Command::Ls(args) => ls::run(context, args).await,
        Command::Diff(args) => diff::run(context, args).await,
        Command::Stats => stats::run(context).await,
        Command::Cat(args) => cat::run(context, args).await,
        Command::Restore(args) => restore::run(context, args).await,
        Command::Check(args) => check::run(context, args).await,
        Command::Repair(args) => repair::run(context, args).await,
        Command::Scrub => check::scrub(context).await,
        Command::Forget(args) => retention::forget(context, *args).await,
        Command::Prune(args) => prune::run(context, args).await,
        Command::Undelete(args) => prune::undelete(context, args).await,
        Command::Retention(command) => retention::run(context, *command).await,
        Command::Session(command) => prune::session(context, command).await,
        Command::Key(command) => key::run(context, command).await,
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "orlop", &mut script);
            context.output.bytes(&script)
        }
    }
}
