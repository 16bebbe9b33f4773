//! What each request does.

use std::path::{Path, PathBuf};
use std::time::Duration;

use agent_protocol::{
    Code, Command, Fault, RequestStatus, Reset, ResetStatus, Status, UpdateRequest,
};
use provisioning::{last_reset, pending_reset};
use serde_json::{Value, json};
use time::OffsetDateTime;

use super::own;
use super::record::{Record, Records};
use super::unit;
use crate::reset::Device;

/// A slow processor asks the cluster for a while; the caller waits a minute.
const HEALTH: Duration = Duration::from_secs(50);
const STATUS: Duration = Duration::from_secs(40);
/// Between the answer and the end of all connections.
const RESTART_AFTER: Duration = Duration::from_secs(5);

/// The device that this program runs on, or one whose file tree is elsewhere.
#[derive(Debug)]
pub(super) struct Host {
    root: PathBuf,
    records: Records,
}

fn failed(error: impl Into<anyhow::Error>) -> Fault {
    Fault::new(Code::Failed, format!("{:#}", error.into()))
}

impl Host {
    pub(super) fn new(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
            records: Records::new(root),
        }
    }

    pub(super) async fn answer(&self, command: &Command) -> Result<Value, Fault> {
        match command {
            Command::Health => own::json(&self.root, &["health", "--json"], HEALTH).await,
            Command::UpdateStatus => self.status().await.map(|status| json!(status)),
            Command::Update(request) => self.update(request).await,
            Command::Retry { id } => self.retry(id).await,
            Command::Forget { id } => self.forget(id),
            Command::Reset(reset) => self.reset(reset).await,
            Command::Restart => {
                self.check_machine()?;
                unit::restart(RESTART_AFTER).await?;
                Ok(json!({"seconds": RESTART_AFTER.as_secs()}))
            }
        }
    }

    async fn status(&self) -> Result<Status, Fault> {
        let system = own::json(&self.root, &["update", "status", "--json"], STATUS).await?;
        let (pending, last) = (pending_reset(&self.root), last_reset(&self.root));
        Ok(Status {
            name: Device::new(&self.root).name().map_err(failed)?,
            system,
            request: self.request().await?,
            reset: ResetStatus {
                pending: pending.map_err(failed)?.map(|request| json!(request)),
                last: last.map_err(failed)?.map(|reset| json!(reset)),
            },
        })
    }

    async fn request(&self) -> Result<Option<RequestStatus>, Fault> {
        let Some(record) = self.records.load().map_err(failed)? else {
            return Ok(None);
        };
        let is_running = unit::is_updating().await;
        Ok(Some(self.records.status(&record, is_running)))
    }

    async fn update(&self, request: &UpdateRequest) -> Result<Value, Fault> {
        let record = Record {
            bundle: request.bundle.clone(),
            origin: request.origin,
            attempts: 0,
            begun: OffsetDateTime::now_utc(),
            end: None,
            forgotten: false,
        };
        self.begin(record).await
    }

    async fn retry(&self, id: &str) -> Result<Value, Fault> {
        let record = self.recorded(id)?;
        self.begin(record).await
    }

    fn forget(&self, id: &str) -> Result<Value, Fault> {
        let mut record = self.recorded(id)?;
        record.forgotten = true;
        self.records.save(&record).map_err(failed)?;
        Ok(json!({ "id": id }))
    }

    fn recorded(&self, id: &str) -> Result<Record, Fault> {
        let record = self.records.load().map_err(failed)?;
        record
            .filter(|record| record.bundle.id() == id)
            .ok_or_else(|| {
                let message = format!("the update that was asked for last is not {id}");
                Fault::new(Code::UnknownUpdate, message).at("id")
            })
    }

    async fn begin(&self, mut record: Record) -> Result<Value, Fault> {
        self.check_machine()?;
        let _lock = self.records.lock().map_err(failed)?;
        if unit::is_updating().await {
            return Err(Fault::new(
                Code::Busy,
                "an update is being installed; wait for its end, update-status shows it",
            ));
        }
        let before = self.records.load().map_err(failed)?;
        record.attempts += 1;
        record.begun = OffsetDateTime::now_utc();
        record.end = None;
        self.records.save(&record).map_err(failed)?;
        self.records.clear_progress();
        if let Err(fault) = unit::start_update(&self.root).await {
            if let Some(before) = before {
                self.records.save(&before).map_err(failed)?;
            } else {
                self.records.remove().map_err(failed)?;
            }
            return Err(fault);
        }
        Ok(json!({"id": record.bundle.id(), "attempt": record.attempts}))
    }

    async fn reset(&self, reset: &Reset) -> Result<Value, Fault> {
        let device = Device::new(&self.root);
        device
            .check()
            .map_err(|error| Fault::new(Code::NotHere, format!("{error:#}")))?;
        let name = device.name().map_err(failed)?;
        if reset.name != name {
            let message = format!(
                "this device is {name}, not {}: nothing was done; give its own name to confirm the reset",
                reset.name
            );
            return Err(Fault::new(Code::WrongName, message).at("name"));
        }
        if !device.is_this_machine() {
            return Err(Fault::new(
                Code::NotHere,
                "only the device that runs is reset; for another file tree there is `fieldgate reset --root`",
            ));
        }
        let preserve = reset.preserve.as_ref().map(|parts| {
            let words: Vec<&str> = parts.iter().map(|part| part.as_str()).collect();
            if words.is_empty() {
                "none".to_owned()
            } else {
                words.join(",")
            }
        });
        unit::reset(RESTART_AFTER, preserve.as_deref()).await?;
        Ok(json!({"seconds": RESTART_AFTER.as_secs()}))
    }

    fn check_machine(&self) -> Result<(), Fault> {
        if self.root == Path::new("/") && !nix::unistd::geteuid().is_root() {
            return Err(Fault::new(
                Code::NotHere,
                "the host's side of the agent must run as root; fieldgate-agent.socket starts it so",
            ));
        }
        Ok(())
    }
}
