//! orlop, the command line: parses, wires the engine up, and maps what happened to an exit code.

mod allocator;
mod args;
mod cmd;
mod context;
mod credential;
mod display;
mod exit;
mod format;
mod input;
mod output;
mod profile;
mod secret;
mod signals;
mod terminal;
mod text;

use args::{Cli, Command, Size};
use context::Context;
use exit::{Exit, Failure};
use output::Output;
use std::panic::{AssertUnwindSafe, catch_unwind};

fn main() {
    allocator::bound();
    let code = match args::parse() {
        Ok(cli) => {
            let output = Output::new(&cli.global);
            // a defect is told on one line, like any other error
            std::panic::set_hook(Box::new(move |defect| output.defect(defect)));
            let result = catch_unwind(AssertUnwindSafe(|| run(cli, output)));
            result.map_or(Exit::Failed, |result| output.finish(&result))
        }
        Err(code) => code,
    };
    std::process::exit(code.code());
}

/// How much less of a busy CPU a prune takes than others: a tenth of a backup's share.
const PRUNE_NICE: i32 = 10;

fn run(mut cli: Cli, output: Output) -> Result<(), Failure> {
    profile::apply(&mut cli.global)?;
    if matches!(cli.command, Command::Prune(_)) {
        // before there are threads, which inherit it; a refusal changes nothing that counts
        let _ = rustix::process::nice(PRUNE_NICE);
    }
    match cli.command {
        Command::Check(_) | Command::Prune(_) => allocator::map_long_blocks(),
        Command::Backup(_) | Command::Restore(_) => {
            let memory = cli.global.memory.map_or(repository::MEMORY_LEN, |Size(len)| len);
            allocator::keep_long_blocks(memory);
        }
        _ => {}
    }
    let context = Context::new(cli.global, output)?;
    signals::watch(context.exec.cancel_handle())?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(context.threads().min(context::ASYNC_THREADS_MAX))
        .max_blocking_threads(context::BLOCKING_THREADS_MAX)
        .thread_name("orlop-async")
        .enable_all()
        .build()
        .map_err(|e| Failure::failed(format!("starting threads: {e}")))?;
    let result = runtime.block_on(cmd::run(&context, cli.command));
    // a reader that waits for a pipe must not keep the process
    runtime.shutdown_background();
    if signals::interrupted() && result.is_err() { Err(Failure::Interrupted) } else { result }
}
