//! `fieldgate demo`: the whole system on this machine, watched, checked, and broken on request.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use anyhow::{Result, bail};
use clap::Args;
use tokio::time::{MissedTickBehavior, interval, sleep};

use crate::chaos::{self, ChaosReport};
use crate::duration;
use crate::notes::Notes;
use crate::report::{self, DemoReport};
use crate::signals::Signals;
use crate::snapshot::Observer;
use crate::system::{Binaries, BinaryArgs, Plant, RunDirectory, System};
use crate::view::View;

/// How long events that the broker accepted may take to arrive after the reader stopped.
const ARRIVAL: Duration = Duration::from_secs(30);
const ARRIVAL_AFTER_CHAOS: Duration = Duration::from_secs(60);

/// The whole system on this machine: simulated devices, broker, sidecars, modules and an emulated IoT Hub
#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// End by itself after this time, like 30s or 3m [default: until Ctrl-C]
    #[arg(long = "for", value_name = "TIME", value_parser = duration::parse)]
    time: Option<Duration>,

    /// Kill every process in turn and take the hub away for 30 s; needs about 180s
    #[arg(long)]
    chaos: bool,

    #[command(flatten)]
    binaries: BinaryArgs,

    /// Use this new directory and keep it: configuration, logs, queue, what the hub received
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,

    /// One line a second instead of the live view
    #[arg(long)]
    plain: bool,
}

/// Why the run ended.
enum End {
    TimeIsUp,
    Interrupted,
}

/// Runs the demo that was `started` then; prints the report as the last line of standard output.
pub(crate) async fn run(args: DemoArgs, started: SystemTime) -> Result<ExitCode> {
    let signals = Signals::listen()?;
    let binaries = Binaries::find(&args.binaries)?;
    let mut directory = RunDirectory::create(args.keep.as_deref())?;
    let screen = !args.plain && std::io::stderr().is_terminal() && std::io::stdin().is_terminal();
    let notes = Notes::new(screen);
    let outcome = tokio::select! {
        outcome = Box::pin(watched(&args, &binaries, &directory, &notes, &signals, screen, started)) => outcome,
        () = signals.abort.cancelled() => Err(anyhow::anyhow!("stopped at once, on the second signal")),
    };
    let good = match &outcome {
        Ok((_, faults)) => faults.is_empty(),
        Err(_) => false,
    };
    if !good && args.keep.is_none() {
        directory.keep();
    }
    if !good || args.keep.is_some() {
        eprintln!("kept: {}", directory.path().display());
    }
    let (report, faults) = outcome?;
    for fault in &faults {
        eprintln!("FAILED: {fault}");
    }
    println!("{}", serde_json::to_string(&report)?);
    Ok(if faults.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

async fn watched(
    args: &DemoArgs,
    binaries: &Binaries,
    directory: &RunDirectory,
    notes: &Notes,
    signals: &Signals,
    screen: bool,
    started: SystemTime,
) -> Result<(DemoReport, Vec<String>)> {
    let mut view = screen
        .then(|| View::open(signals.stop.clone()))
        .transpose()?;
    notes.say("starting");
    let system = tokio::select! {
        system = Box::pin(System::start(Plant::demo(), binaries, directory, notes)) => system?,
        () = signals.stop.cancelled() => bail!("interrupted while starting"),
    };
    for line in system.signposts(directory) {
        notes.say(line);
    }
    let mut chaos = args.chaos.then(ChaosReport::default);
    let end = Box::pin(watch(args, &system, notes, signals, &mut view, &mut chaos)).await?;
    let restarts = system.processes.restarts();
    let checker = system.checker.clone();
    if view.take().is_some() {
        notes.leave_screen();
    }
    let stopped = Box::pin(system.stop(if args.chaos {
        ARRIVAL_AFTER_CHAOS
    } else {
        ARRIVAL
    }))
    .await;
    let (verdict, first_arrival, examples) = {
        let checker = checker.lock();
        (
            checker.verdict(),
            checker.first_arrival(),
            checker.examples(),
        )
    };
    examples.iter().for_each(|example| eprintln!("{example}"));
    let planned = chaos.filter(|_| matches!(end, End::TimeIsUp));
    let mut faults = report::faults(&verdict, planned);
    if let Err(error) = stopped {
        faults.push(format!("{error:#}"));
    }
    Ok((
        DemoReport::new(&verdict, started, first_arrival, restarts, chaos),
        faults,
    ))
}

/// Shows the running system until it is time to end.
async fn watch(
    args: &DemoArgs,
    system: &System,
    notes: &Notes,
    signals: &Signals,
    view: &mut Option<View>,
    chaos: &mut Option<ChaosReport>,
) -> Result<End> {
    let mut observer = Observer::new();
    let mut second = interval(Duration::from_secs(1));
    second.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let show = async {
        loop {
            second.tick().await;
            let snapshot = observer.look(system).await;
            match view {
                Some(view) => view.draw(&snapshot, notes)?,
                None => notes.say(snapshot.line()),
            }
        }
        #[allow(unreachable_code)]
        anyhow::Ok(())
    };
    let time_is_up = async {
        match args.time {
            Some(time) => sleep(time).await,
            None => std::future::pending().await,
        }
    };
    let faults = async {
        if let Some(report) = chaos {
            chaos::run(system, notes, report).await?;
            notes.say("chaos: every fault has been made");
        }
        std::future::pending::<Result<()>>().await
    };
    tokio::select! {
        shown = show => shown.map(|()| End::Interrupted),
        faults = faults => faults.map(|()| End::Interrupted),
        failure = system.processes.failure() => Err(failure),
        () = time_is_up => Ok(End::TimeIsUp),
        () = signals.stop.cancelled() => Ok(End::Interrupted),
    }
}
