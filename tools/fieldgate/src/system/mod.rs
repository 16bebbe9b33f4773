//! The whole system as plain processes: simulator, broker, sidecars, modules and an emulated IoT Hub.

mod binaries;
mod broker;
mod dapr;
mod directory;
mod documents;
mod emulator;
mod plant;
mod ports;
mod processes;
mod subscriptions;

pub(crate) use binaries::{Binaries, BinaryArgs};
pub(crate) use broker::TOPIC_DEAD_LETTER;
pub(crate) use directory::RunDirectory;
pub(crate) use documents::REQUEST_TIMEOUT;
pub(crate) use emulator::{Emulator, HubMessage};
pub(crate) use plant::Plant;
pub(crate) use processes::Process;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use async_nats::jetstream::consumer::PullConsumer;
use tokio::time::timeout;

use self::broker::Broker;
use self::dapr::{HUB_APP, READER_APP};
use self::documents::Places;
use self::ports::{ModulePorts, Ports};
use self::processes::{ProcessSpec, Supervisor};
use self::subscriptions::Delivery;
use crate::evidence::{Checker, Collector, Ledger, SharedChecker, ValueCheck};
use crate::http::Http;
use crate::notes::Notes;

/// The appliance's name: in every event's source, and its identity at the hub.
const APPLIANCE: &str = "demo-appliance";
const HUB_NAME: &str = "fieldgate-demo.azure-devices.net";
const START_DEADLINE: Duration = Duration::from_secs(20);
/// How long the reader waits at most for its sidecar and for the hub module.
const READY_WITHIN: Duration = Duration::from_secs(3);
/// After which a process that was asked to stop is killed.
const GRACE: Duration = Duration::from_secs(10);

/// A running system. Dropping it kills every process.
#[derive(Debug)]
pub(crate) struct System {
    pub(crate) plant: Plant,
    pub(crate) emulator: Emulator,
    pub(crate) checker: SharedChecker,
    pub(crate) processes: Processes,
    pub(crate) http: Http,
    ledger: Ledger,
    collector: Collector,
    ports: Ports,
    configurations: Vec<PathBuf>,
    notes: Notes,
}

/// Every process of the system.
#[derive(Debug)]
pub(crate) struct Processes {
    pub(crate) simulator: Process,
    pub(crate) broker: Process,
    pub(crate) emulator: Process,
    pub(crate) reader_sidecar: Process,
    pub(crate) hub_sidecar: Process,
    pub(crate) reader: Process,
    pub(crate) hub: Process,
}

impl Processes {
    pub(crate) fn all(&self) -> [&Process; 7] {
        [
            &self.simulator,
            &self.broker,
            &self.reader_sidecar,
            &self.hub_sidecar,
            &self.reader,
            &self.hub,
            &self.emulator,
        ]
    }

    /// How often any of them was started again.
    pub(crate) fn restarts(&self) -> u32 {
        let restarts = |process: &Process| process.state().restarts;
        self.all().into_iter().map(restarts).sum()
    }

    /// Returns when the supervisor has given up on any of them.
    pub(crate) async fn failure(&self) -> anyhow::Error {
        let waiting = self.all().map(|process| Box::pin(process.failure()));
        futures_util::future::select_all(waiting).await.0
    }
}

impl System {
    /// Starts everything; returns when every process runs, which does not mean that values flow already.
    pub(crate) async fn start(
        plant: Plant,
        binaries: &Binaries,
        directory: &RunDirectory,
        notes: &Notes,
    ) -> Result<Self> {
        let ports = Ports::choose(plant.tcp_devices())?;
        let broker = Broker::new(ports.broker);
        let places = Places {
            device_ports: ports.devices.clone(),
            line: directory.join("line-1"),
            hub_port: ports.hub_mqtt,
            hub_ca: directory.join("hub/ca.pem"),
            queue: directory.join("queue.db"),
        };
        let simulator_plan = documents::simulator_plan(&plant, &places)?;
        let configurations = vec![
            directory.write(
                "modbus-reader.yaml",
                &documents::reader_configuration(&plant, &places)?,
            )?,
            directory.write(
                "iothub-module.yaml",
                &documents::hub_configuration(&places, binaries.delivery())?,
            )?,
            directory.write("field-simulator.yaml", &simulator_plan)?,
        ];
        let expectation: field_simulator::Plan =
            serde_yaml_ng::from_str(&simulator_plan).context("the simulator's plan")?;
        let checker = SharedChecker::new(Checker::new(ValueCheck::new(
            expectation,
            &plant,
            REQUEST_TIMEOUT,
        )));

        let supervisor = Supervisor::new(&directory.join("logs"), notes.clone())?;
        let http = Http::new();
        let emulator_control = Emulator::new(http.clone(), ports.hub_control);

        let broker_process = supervisor.start(broker_spec(&broker, binaries, directory)?)?;
        let emulator = supervisor.start(emulator_spec(&ports, binaries, directory))?;
        let simulator = supervisor.start(simulator_spec(&ports, binaries, directory))?;
        let (audit, connection_string, ()) = tokio::try_join!(
            unless_failed(&broker_process, set_up_broker(&broker, binaries.delivery())),
            unless_failed(&emulator, set_up_hub(&emulator_control, directory)),
            unless_failed(&simulator, async {
                emulator::ready_file(&directory.join("simulator.json"), START_DEADLINE)
                    .await
                    .map(drop)
            }),
        )?;
        dapr::write_resources(directory, &broker, binaries.delivery(), &connection_string)?;

        let sidecar = |name, app, ports| {
            supervisor.start(dapr::sidecar(name, app, ports, binaries, directory))
        };
        let module = |app, program: &PathBuf, ports: &ModulePorts, configuration: &PathBuf| {
            supervisor.start(module_spec(app, program.clone(), ports, configuration))
        };
        let reader_sidecar = sidecar("modbus-reader-sidecar", READER_APP, &ports.reader)?;
        let hub_sidecar = sidecar("iothub-module-sidecar", HUB_APP, &ports.hub)?;
        let hub = module(HUB_APP, &binaries.hub, &ports.hub, &configurations[1])?;
        // The source starts last, as it stops first: else its first events would wait for the others' start.
        tokio::join!(
            answers(
                &http,
                format!(
                    "http://127.0.0.1:{}/v1.0/healthz/outbound",
                    ports.reader.dapr_http
                )
            ),
            answers(&http, format!("http://127.0.0.1:{}/readyz", ports.hub.ops)),
        );
        let processes = Processes {
            reader_sidecar,
            hub_sidecar,
            reader: module(
                READER_APP,
                &binaries.reader,
                &ports.reader,
                &configurations[0],
            )?,
            hub,
            broker: broker_process,
            emulator,
            simulator,
        };
        Ok(Self {
            ledger: Ledger::start(audit, checker.clone()),
            collector: Collector::start(emulator_control.clone(), checker.clone()),
            plant,
            emulator: emulator_control,
            checker,
            processes,
            http,
            ports,
            configurations,
            notes: notes.clone(),
        })
    }

    /// Where a person finds things, a line each.
    pub(crate) fn signposts(&self, directory: &RunDirectory) -> Vec<String> {
        let mut lines = vec![
            format!(
                "everything of this run is in {}, logs in its folder logs",
                directory.path().display()
            ),
            format!(
                "the emulated IoT Hub is controlled at {}",
                self.emulator.url()
            ),
            format!(
                "metrics: {} (modbus-reader), {} (iothub-module)",
                metrics_url(&self.ports.reader),
                metrics_url(&self.ports.hub)
            ),
            format!(
                "faults of field devices: http://127.0.0.1:{}/devices",
                self.ports.simulator_control
            ),
        ];
        lines.extend(
            self.configurations
                .iter()
                .map(|path| {
                    format!(
                        "edit and save to change the running system: {}",
                        path.display()
                    )
                })
                .take(2),
        );
        if let Some(example) = documents::write_example(self.emulator.url(), APPLIANCE, &self.plant)
        {
            lines.push(format!("write a coil through the hub: {example}"));
        }
        lines
    }

    pub(crate) fn reader_metrics_url(&self) -> String {
        metrics_url(&self.ports.reader)
    }

    pub(crate) fn hub_metrics_url(&self) -> String {
        metrics_url(&self.ports.hub)
    }

    /// Stops the source first and then, when all it sent has arrived, everything else.
    ///
    /// # Errors
    /// When the proof could not be completed: the ledger could not be read to its end. All processes are stopped then,
    /// too.
    pub(crate) async fn stop(mut self, arrival: Duration) -> Result<()> {
        self.notes
            .say("stopping: first the reader, which sends what it holds");
        self.processes.reader.stop(GRACE * 2).await;
        let drained = self.ledger.drained(Duration::from_secs(15)).await;
        let checker = self.checker.clone();
        let arrived = timeout(arrival, async {
            while checker.lock().outstanding() > 0 {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        });
        if arrived.await.is_err() {
            self.notes.say(format!(
                "{} events have not arrived within {} s",
                checker.lock().outstanding(),
                arrival.as_secs()
            ));
        }
        self.processes.hub.stop(GRACE).await;
        self.ledger.stop().await;
        self.collector.stop().await;
        tokio::join!(
            self.processes.reader_sidecar.stop(GRACE),
            self.processes.hub_sidecar.stop(GRACE),
            self.processes.simulator.stop(GRACE),
            self.processes.emulator.stop(GRACE),
        );
        self.processes.broker.stop(GRACE).await;
        self.notes.say("everything has stopped");
        drained
    }
}

/// The result of `action`, or why `process` will never be ready.
async fn unless_failed<T>(process: &Process, action: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::select! {
        result = action => result.with_context(|| process.name()),
        failure = process.failure() => Err(failure),
    }
}

/// Waits until `url` answers with success, but not for ever: what follows can start without it, too.
async fn answers(http: &Http, url: String) {
    let ready = async {
        while http.get(&url, Duration::from_secs(1)).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let _ = timeout(READY_WITHIN, ready).await;
}

async fn set_up_broker(broker: &Broker, delivery: Delivery) -> Result<Vec<PullConsumer>> {
    let client = broker.connect().await?;
    Broker::set_up(&client, delivery).await
}

async fn set_up_hub(emulator: &Emulator, directory: &RunDirectory) -> Result<String> {
    emulator::ready_file(&directory.join("hub/endpoints.json"), START_DEADLINE).await?;
    emulator.register(APPLIANCE).await
}

fn metrics_url(ports: &ModulePorts) -> String {
    format!("http://127.0.0.1:{}/metrics", ports.ops)
}

fn broker_spec(
    broker: &Broker,
    binaries: &Binaries,
    directory: &RunDirectory,
) -> Result<ProcessSpec> {
    let configuration = broker.write_configuration(directory, binaries.delivery())?;
    Ok(ProcessSpec {
        name: "nats-server",
        program: binaries.nats_server.clone(),
        arguments: vec!["--config".into(), configuration.into()],
        environment: vec![("GOMEMLIMIT", "64MiB".into())],
    })
}

fn emulator_spec(ports: &Ports, binaries: &Binaries, directory: &RunDirectory) -> ProcessSpec {
    ProcessSpec {
        name: "iothub-emulator",
        program: binaries.emulator.clone(),
        arguments: vec![
            "--data".into(),
            directory.join("hub").into(),
            "--host-name".into(),
            HUB_NAME.into(),
            "--mqtt-address".into(),
            format!("127.0.0.1:{}", ports.hub_mqtt).into(),
            "--control-address".into(),
            format!("127.0.0.1:{}", ports.hub_control).into(),
        ],
        environment: Vec::new(),
    }
}

fn simulator_spec(ports: &Ports, binaries: &Binaries, directory: &RunDirectory) -> ProcessSpec {
    ProcessSpec {
        name: "field-simulator",
        program: binaries.simulator.clone(),
        arguments: vec![
            "--plan".into(),
            directory.join("field-simulator.yaml").into(),
            "--control-address".into(),
            format!("127.0.0.1:{}", ports.simulator_control).into(),
            "--ready-file".into(),
            directory.join("simulator.json").into(),
        ],
        environment: Vec::new(),
    }
}

fn module_spec(
    app: &'static str,
    program: PathBuf,
    ports: &ModulePorts,
    configuration: &PathBuf,
) -> ProcessSpec {
    ProcessSpec {
        name: app,
        program,
        arguments: Vec::new(),
        environment: vec![
            ("FIELDGATE_CONFIG", configuration.into()),
            ("FIELDGATE_APPLIANCE", APPLIANCE.into()),
            ("FIELDGATE_MODULE", app.into()),
            ("FIELDGATE_APP_PORT", ports.app.to_string().into()),
            (
                "FIELDGATE_OPS_ADDRESS",
                format!("127.0.0.1:{}", ports.ops).into(),
            ),
            ("FIELDGATE_PUBSUB", "pubsub".into()),
            ("DAPR_GRPC_PORT", ports.dapr_grpc.to_string().into()),
            ("DAPR_HTTP_PORT", ports.dapr_http.to_string().into()),
            ("DAPR_API_TOKEN", "".into()),
            ("APP_API_TOKEN", "".into()),
            ("NO_PROXY", "127.0.0.1,localhost".into()),
        ],
    }
}
