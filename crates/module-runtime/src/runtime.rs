//! From a module's command line to its exit status, and what a running module is given.

use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{ArgMatches, Args, Command, FromArgMatches};
use tokio_util::sync::CancellationToken;

use crate::args::ModuleArgs;
use crate::commands::Commands;
use crate::configuration::{
    ConfigurationWatch, Loaded, ModuleConfiguration, document_schema, load,
};
use crate::health::Health;
use crate::operation::{Failure, operate};
use crate::sidecar::Sidecar;
use crate::status::StatusPublisher;

/// Exit status of an invalid first configuration (EX_CONFIG of sysexits.h): no restart helps.
pub const EXIT_CONFIGURATION: u8 = 78;

/// Which module this is; make it with [`crate::module!`].
#[derive(Debug, Clone, Copy)]
pub struct ModuleInfo {
    /// The default of `--module`.
    pub name: &'static str,
    /// The module's version.
    pub version: &'static str,
    /// One line for `--help`.
    pub about: &'static str,
}

/// The calling crate as a [`ModuleInfo`].
#[macro_export]
macro_rules! module {
    () => {
        $crate::ModuleInfo {
            name: env!("CARGO_PKG_NAME"),
            version: env!("CARGO_PKG_VERSION"),
            about: env!("CARGO_PKG_DESCRIPTION"),
        }
    };
}

/// What a running module is given. All of it is the module's to take apart.
#[derive(Debug)]
pub struct Runtime<C> {
    /// The arguments; `appliance` and `module` are filled in.
    pub args: ModuleArgs,
    /// The appliance's name.
    pub appliance: String,
    /// The module's name.
    pub module: String,
    /// The module's version.
    pub version: &'static str,
    /// The Dapr sidecar.
    pub sidecar: Arc<dyn Sidecar>,
    /// Behind /readyz. Has the part "sidecar" already.
    pub health: Health,
    /// Cancelled at SIGTERM and SIGINT: stop taking in, finish what is in flight, return.
    pub shutdown: CancellationToken,
    /// Add commands here; they are served already.
    pub commands: Commands,
    /// Publishes the module's state. `configuration` is reported as in force already.
    pub status: StatusPublisher,
    /// The first configuration.
    pub configuration: Loaded<C>,
    /// Tells of later ones. Report each with [`StatusPublisher::in_force`] or [`StatusPublisher::rejected`].
    pub watch: ConfigurationWatch<C>,
}

/// Runs a module from its command line to its exit status, on a runtime of one thread.
///
/// `work` gets the [`Runtime`] and returns when its `shutdown` is cancelled; returning earlier, or an error, ends the
/// process with status 1. After SIGTERM it has the grace period (20 s) to return. With `--lock` it is started only when this
/// instance has the lock; see docs/operate, "Standby".
///
/// Exit status: 0 after SIGTERM, 78 for an invalid first configuration, 2 for wrong arguments, 1 otherwise.
pub fn run<C, W>(module: ModuleInfo, work: W) -> ExitCode
where
    C: ModuleConfiguration,
    W: AsyncFnOnce(Runtime<C>) -> anyhow::Result<()>,
{
    let command = ModuleArgs::augment_args(
        Command::new(module.name)
            .version(module.version)
            .about(module.about),
    );
    let parsed = command
        .try_get_matches()
        .and_then(|matches: ArgMatches| ModuleArgs::from_arg_matches(&matches));
    match parsed {
        Ok(args) => run_with(module, args, work),
        Err(error) => {
            let _ = error.print();
            ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
        }
    }
}

/// [`run`] for a module with arguments of its own, which parsed [`ModuleArgs`] itself.
pub fn run_with<C, W>(module: ModuleInfo, args: ModuleArgs, work: W) -> ExitCode
where
    C: ModuleConfiguration,
    W: AsyncFnOnce(Runtime<C>) -> anyhow::Result<()>,
{
    if args.print_schema {
        return print(&format!("{:#}\n", document_schema::<C>()));
    }
    let Some(path) = args.config.clone() else {
        tell("give the configuration with --config FILE or FIELDGATE_CONFIG");
        return ExitCode::from(2);
    };
    if args.check {
        return match load::<C>(&path) {
            Ok(_) => ExitCode::SUCCESS,
            Err(error) => {
                tell(&error.to_string());
                ExitCode::from(EXIT_CONFIGURATION)
            }
        };
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let outcome = match runtime {
        Ok(runtime) => runtime.block_on(operate(module, args, &path, work)),
        Err(error) => Err(Failure::Other(
            anyhow::Error::new(error).context("cannot start the runtime"),
        )),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Configuration(error)) => {
            for problem in &error.problems {
                tracing::error!(%problem, "invalid configuration");
            }
            ExitCode::from(EXIT_CONFIGURATION)
        }
        Err(Failure::Other(error)) => {
            if tracing::dispatcher::has_been_set() {
                tracing::error!(error = format!("{error:#}"), "ended");
            } else {
                tell(&format!("{}: {error:#}", module.name));
            }
            ExitCode::FAILURE
        }
    }
}

/// Writes a result to stdout. A reader that has seen enough (`| head`) is no failure.
fn print(text: &str) -> ExitCode {
    let mut stdout = std::io::stdout().lock();
    let written = stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush());
    match written {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            tell(&format!("cannot write to stdout: {error}"));
            ExitCode::FAILURE
        }
        _ => ExitCode::SUCCESS,
    }
}

/// Writes a line to stderr; where nobody reads it, the exit code still tells.
fn tell(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}
