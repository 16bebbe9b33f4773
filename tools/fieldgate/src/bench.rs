//! `fieldgate bench`: loads the whole system and says what that costs.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use serde::Serialize;
use tokio::time::{Instant, sleep, timeout};

use crate::duration;
use crate::evidence::Verdict;
use crate::metrics::Samples;
use crate::notes::Notes;
use crate::procfs;
use crate::report::{faults, rounded, seconds};
use crate::signals::Signals;
use crate::system::{Binaries, BinaryArgs, Plant, RunDirectory, System};

const FIRST_EVENT_WITHIN: Duration = Duration::from_secs(30);
/// Running before anything is measured: connections, caches and queues have settled.
const WARM_UP: Duration = Duration::from_secs(5);
const ARRIVAL: Duration = Duration::from_secs(60);
const SCRAPE_DEADLINE: Duration = Duration::from_secs(2);

/// Benchmarks
#[derive(Debug, Subcommand)]
pub(crate) enum BenchCommand {
    Pipeline(PipelineArgs),
}

/// Registers → reader → Dapr → broker → Dapr → queue → emulated hub
#[derive(Debug, Args)]
pub(crate) struct PipelineArgs {
    /// Time that is measured, after the warm-up
    #[arg(long = "for", value_name = "TIME", value_parser = duration::parse, default_value = "60s")]
    time: Duration,

    /// Modbus TCP devices
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=200))]
    devices: u16,

    /// 16-bit holding registers of each device, all in one poll group
    #[arg(long, value_name = "N", default_value_t = 500, value_parser = clap::value_parser!(u16).range(1..=5000))]
    registers: u16,

    /// Time between polls
    #[arg(long, value_name = "TIME", value_parser = duration::parse, default_value = "100ms")]
    period: Duration,

    #[command(flatten)]
    binaries: BinaryArgs,
}

/// One JSON object on standard output.
#[derive(Debug, Serialize)]
struct PipelineReport {
    devices: u16,
    registers: u16,
    period_ms: u128,
    measured_s: f64,
    /// Planned.
    points_per_second_planned: f64,
    /// Arrived at the hub in the measured time.
    points_per_second: f64,
    overruns: Option<f64>,
    cpu_s_per_million_points: BTreeMap<&'static str, f64>,
    pss_kib: BTreeMap<&'static str, u64>,
    events_delivered: u64,
    missing: u64,
    duplicates: u64,
    values_wrong: u64,
    latency_ms_p50: Option<f64>,
    latency_ms_p99: Option<f64>,
    restarts: u32,
}

/// State of all counters at one moment.
struct Reading {
    at: Instant,
    points: u64,
    overruns: Option<f64>,
    cpu_s: BTreeMap<&'static str, f64>,
}

/// Runs a benchmark.
pub(crate) async fn run(command: BenchCommand) -> Result<ExitCode> {
    let BenchCommand::Pipeline(args) = command;
    let signals = Signals::listen()?;
    let binaries = Binaries::find(&args.binaries)?;
    let mut directory = RunDirectory::create(None)?;
    let notes = Notes::new(false);
    let outcome = tokio::select! {
        outcome = Box::pin(pipeline(&args, &binaries, &directory, &notes)) => outcome,
        () = signals.stop.cancelled() => Err(anyhow::anyhow!("interrupted")),
    };
    let good = outcome.as_ref().is_ok_and(|(_, faults)| faults.is_empty());
    if !good {
        directory.keep();
        eprintln!("kept: {}", directory.path().display());
    }
    let (report, faults) = outcome?;
    for fault in &faults {
        eprintln!("FAILED: {fault}");
    }
    println!("{}", serde_json::to_string(&report)?);
    Ok(if good {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

async fn pipeline(
    args: &PipelineArgs,
    binaries: &Binaries,
    directory: &RunDirectory,
    notes: &Notes,
) -> Result<(PipelineReport, Vec<String>)> {
    let plant = Plant::load(usize::from(args.devices), args.registers, args.period);
    let planned = plant.tag_count() as f64 / args.period.as_secs_f64();
    notes.say(format!("starting: {planned:.0} points/s planned"));
    let system = Box::pin(System::start(plant, binaries, directory, notes)).await?;
    let measured = tokio::select! {
        measured = measure(&system, args.time, notes) => measured?,
        failure = system.processes.failure() => return Err(failure),
    };
    let restarts = system.processes.restarts();
    let checker = system.checker.clone();
    let stopped = Box::pin(system.stop(ARRIVAL)).await;
    let (verdict, examples) = {
        let checker = checker.lock();
        (checker.verdict(), checker.examples())
    };
    examples.iter().for_each(|example| eprintln!("{example}"));
    let mut faults = faults(&verdict, None);
    if let Err(error) = stopped {
        faults.push(format!("{error:#}"));
    }
    Ok((report(args, planned, measured, &verdict, restarts), faults))
}

/// Readings before and after the measured time, and the memory at its end.
type Measured = (Reading, Reading, BTreeMap<&'static str, u64>);

async fn measure(system: &System, time: Duration, notes: &Notes) -> Result<Measured> {
    let first = async {
        while system.checker.lock().first_arrival().is_none() {
            sleep(Duration::from_millis(50)).await;
        }
    };
    if timeout(FIRST_EVENT_WITHIN, first).await.is_err() {
        bail!(
            "no event arrived at the hub within {} s",
            FIRST_EVENT_WITHIN.as_secs()
        );
    }
    sleep(WARM_UP).await;
    system.checker.lock().measure_latencies_from_now();
    let before = reading(system).await?;
    let end = before.at + time;
    while Instant::now() < end {
        tokio::time::sleep_until(end.min(Instant::now() + Duration::from_secs(10))).await;
        let (points, outstanding) = {
            let checker = system.checker.lock();
            (
                checker.values_checked() - before.points,
                checker.outstanding(),
            )
        };
        notes.say(format!(
            "{:.0} points/s arrived, {outstanding} events on the way",
            points as f64 / before.at.elapsed().as_secs_f64()
        ));
    }
    let after = reading(system).await?;
    let mut memory = BTreeMap::new();
    for (name, pid) in pids(system)? {
        memory.insert(name, procfs::pss_kib(pid)?);
    }
    Ok((before, after, memory))
}

async fn reading(system: &System) -> Result<Reading> {
    let text = system
        .http
        .get(&system.reader_metrics_url(), SCRAPE_DEADLINE)
        .await?;
    let samples = Samples::parse(&String::from_utf8_lossy(&text));
    let mut cpu_s = BTreeMap::new();
    for (name, pid) in pids(system)? {
        cpu_s.insert(name, procfs::cpu_seconds(pid)?);
    }
    Ok(Reading {
        at: Instant::now(),
        points: system.checker.lock().values_checked(),
        overruns: samples.sum("fieldgate_modbus_reader_overruns_total"),
        cpu_s,
    })
}

/// Every process of the system, and the checker itself.
fn pids(system: &System) -> Result<Vec<(&'static str, i32)>> {
    let mut pids = vec![(
        "checker",
        i32::try_from(std::process::id()).context("own process id")?,
    )];
    for process in system.processes.all() {
        let pid = process
            .state()
            .pid
            .with_context(|| format!("{} is not running", process.name()))?;
        pids.push((process.name(), pid));
    }
    Ok(pids)
}

fn report(
    args: &PipelineArgs,
    planned: f64,
    (before, after, pss_kib): Measured,
    verdict: &Verdict,
    restarts: u32,
) -> PipelineReport {
    let time = after.at - before.at;
    let points = (after.points - before.points) as f64;
    let millions = (points / 1e6).max(f64::MIN_POSITIVE);
    PipelineReport {
        devices: args.devices,
        registers: args.registers,
        period_ms: args.period.as_millis(),
        measured_s: seconds(time),
        points_per_second_planned: rounded(planned),
        points_per_second: rounded(points / time.as_secs_f64()),
        overruns: after
            .overruns
            .map(|overruns| overruns - before.overruns.unwrap_or_default()),
        cpu_s_per_million_points: after
            .cpu_s
            .iter()
            .filter_map(|(name, end)| {
                let spent = end - before.cpu_s.get(name)?;
                Some((*name, (spent / millions * 1000.0).round() / 1000.0))
            })
            .collect(),
        pss_kib,
        events_delivered: verdict.events_delivered,
        missing: verdict.missing,
        duplicates: verdict.duplicates,
        values_wrong: verdict.values_wrong,
        latency_ms_p50: verdict.latency_ms_p50,
        latency_ms_p99: verdict.latency_ms_p99,
        restarts,
    }
}
