//! An installation from beginning to end, for the command and for whoever else asks for one.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::Context;
use reqwest::Url;
use semver::Version;
use serde::Serialize;
use serde_json::Map;

use super::admit::{self, Device, Verdict, Wishes};
use super::client::client;
use super::download::{self, Download, Limits, STALL};
use super::error::UpdateError;
use super::lock::Lock;
use super::places::Places;
use super::rauc::{BundleInfo, Rauc, RaucStatus};
use super::search;
use super::source::Source;
use super::state::{self, Stage, State, System, Update};
use crate::health::{Boot, HealthTarget, Known, observe};
use crate::sha256::sha256_of;

/// What to install.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) source: Source,
    pub(crate) sha256: Option<String>,
    pub(crate) wishes: Wishes,
}

/// How far it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "step", rename_all = "kebab-case")]
pub(crate) enum Progress {
    Downloading {
        bytes: u64,
        size: Option<u64>,
    },
    Checking {
        bundle: String,
    },
    Recording,
    /// Nothing could be learnt of what works.
    Unknown {
        reason: String,
    },
    Installing {
        percent: u8,
        what: String,
    },
}

/// How it ended well.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "result", rename_all = "kebab-case")]
pub(crate) enum Done {
    /// The next start is into this slot.
    Installed { slot: String, version: String },
    /// It is installed, and only the restart is missing.
    Pending { version: String },
    /// It runs already.
    Same { version: String },
}

/// Brings a bundle into the other slot. The running system is untouched, whatever happens; an installation that was cut off is begun again
/// by the next call. The restart is the caller's.
///
/// # Errors
/// [`UpdateError`]; what rauc itself refused while it installed is in the state, too.
pub(crate) async fn install(
    places: &Places,
    request: &Request,
    progress: &mut (dyn FnMut(Progress) + Send),
) -> Result<Done, UpdateError> {
    let rauc = Rauc::find()?;
    let status = rauc.status().await?;
    let boot = Boot::read(places.root(), state::now())?;
    let device = device(places, &status, &boot)?;
    places.make_folder()?;
    let _lock = Lock::take(&places.lock())?;
    let mut state = State::load(places.root())?;
    admit::ready(&device, &state)?;
    if let Some(version) = &request.wishes.version {
        match admit::version(version, &device, &request.wishes, &state)? {
            Verdict::Install => {}
            other => return Ok(done(other, version)),
        }
    }
    let path = fetch(places, request, &rauc, &device, progress).await?;
    let what = match &request.source {
        Source::Search(_) => path.display().to_string(),
        source => source.shown(),
    };
    progress(Progress::Checking {
        bundle: what.clone(),
    });
    let checked = check(&path, &what, request, &rauc, &device, &state).await;
    let (info, verdict) = match checked {
        Ok(checked) => checked,
        Err(error) => {
            discard(places, request)?;
            return Err(error);
        }
    };
    if verdict != Verdict::Install {
        discard(places, request)?;
        return Ok(done(verdict, &info.version));
    }
    let Some(target) = status.other() else {
        return Err(UpdateError::NotUpdatable("it has one slot only".to_owned()));
    };
    progress(Progress::Recording);
    let known = known(places, &state, &device, progress).await;
    let now = state::now();
    let to = System {
        slot: target.bootname.clone(),
        version: info.version.to_string(),
    };
    let before = state.last.replace(Update {
        result: Stage::Installing,
        from: System {
            slot: device.booted.clone(),
            version: device.running.to_string(),
        },
        to: to.clone(),
        source: what,
        started: now,
        time: now,
        boot: device.boot.clone(),
        reasons: Vec::new(),
        known,
        other: Map::new(),
    });
    state.save(places)?;
    let outcome = rauc
        .install(&path, &mut |step| {
            progress(Progress::Installing {
                percent: step.percent,
                what: step.what,
            });
        })
        .await;
    if let Err(UpdateError::Busy) = outcome {
        // That of the installation that runs.
        state.last = before;
    } else if let Some(last) = &mut state.last {
        let now = state::now();
        match &outcome {
            Ok(()) => last.reached(Stage::Installed, Vec::new(), now),
            Err(error) => last.reached(Stage::Failed, vec![error.to_string()], now),
        }
    }
    state.save(places)?;
    discard(places, request)?;
    outcome.map(|()| Done::Installed {
        slot: to.slot,
        version: to.version,
    })
}

fn done(verdict: Verdict, version: &Version) -> Done {
    let version = version.to_string();
    match verdict {
        Verdict::Pending => Done::Pending { version },
        Verdict::Same | Verdict::Install => Done::Same { version },
    }
}

/// The machine and its running system.
pub(crate) fn device(
    places: &Places,
    status: &RaucStatus,
    boot: &Boot,
) -> Result<Device, UpdateError> {
    let booted = status.booted().map(|slot| slot.bootname.clone());
    let Some(booted) = booted else {
        return Err(UpdateError::NotUpdatable(
            "it was not started from one of its slots (rauc.slot on the kernel's command line)"
                .to_owned(),
        ));
    };
    Ok(Device {
        compatible: status.compatible.clone(),
        running: running(places)?,
        booted,
        boot: boot.id.clone(),
    })
}

/// IMAGE_VERSION of os-release(5).
pub(crate) fn running(places: &Places) -> Result<Version, UpdateError> {
    let path = places.os_release();
    let text = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    let version = text
        .lines()
        .find_map(|line| line.strip_prefix("IMAGE_VERSION="))
        .map(|value| value.trim().trim_matches(['"', '\'']));
    let Some(version) = version else {
        return Err(UpdateError::NotUpdatable(format!(
            "{} has no IMAGE_VERSION",
            path.display()
        )));
    };
    Version::parse(version).map_err(|error| {
        UpdateError::NotUpdatable(format!(
            "IMAGE_VERSION {version:?} in {} is no semantic version: {error}",
            path.display()
        ))
    })
}

async fn fetch(
    places: &Places,
    request: &Request,
    rauc: &Rauc,
    device: &Device,
    progress: &mut (dyn FnMut(Progress) + Send),
) -> Result<PathBuf, UpdateError> {
    match &request.source {
        Source::File(path) => {
            // rauc runs elsewhere: it is told the whole path.
            let whole = path.canonicalize();
            let whole = whole.with_context(|| format!("opening {}", path.display()))?;
            Ok(whole)
        }
        Source::Search(folders) => search::newest(folders, rauc, &device.compatible).await,
        Source::Url(url) => fetch_url(places, request, url, progress).await,
    }
}

async fn fetch_url(
    places: &Places,
    request: &Request,
    url: &Url,
    progress: &mut (dyn FnMut(Progress) + Send),
) -> Result<PathBuf, UpdateError> {
    let client = client(&places.proxy(), STALL)?;
    let download = Download {
        client: &client,
        url,
        folder: &places.downloads(),
        limits: &Limits::default(),
        is_checked: request.sha256.is_some(),
    };
    download
        .run(&mut |bytes, size| progress(Progress::Downloading { bytes, size }))
        .await
}

async fn check(
    path: &Path,
    what: &str,
    request: &Request,
    rauc: &Rauc,
    device: &Device,
    state: &State,
) -> Result<(BundleInfo, Verdict), UpdateError> {
    if let Some(expected) = &request.sha256 {
        let path = path.to_owned();
        let hash = move || {
            File::open(&path)
                .and_then(sha256_of)
                .with_context(|| format!("reading {}", path.display()))
        };
        let found = tokio::task::spawn_blocking(hash)
            .await
            .context("reading the bundle")??;
        if found != *expected {
            return Err(UpdateError::WrongHash {
                what: what.to_owned(),
                found,
                expected: expected.clone(),
            });
        }
    }
    let info = rauc.info(path).await?;
    let verdict = admit::bundle(what, &info, device, &request.wishes, state)?;
    if verdict == Verdict::Install && matches!(request.source, Source::Search(_)) {
        admit::untried(&info.version, &request.wishes, state)?;
    }
    Ok((info, verdict))
}

/// What was downloaded is needed no more; a file of somebody else's stays.
fn discard(places: &Places, request: &Request) -> Result<(), UpdateError> {
    if matches!(request.source, Source::Url(_)) {
        download::clear(&places.downloads())?;
    }
    Ok(())
}

/// What works now. Where nothing can be learnt, what is known of before an earlier attempt from the same system counts.
async fn known(
    places: &Places,
    state: &State,
    device: &Device,
    progress: &mut (dyn FnMut(Progress) + Send),
) -> Option<Known> {
    match observe(&HealthTarget::of(places.root())).await {
        Ok(observation) => Some(Known::of(&observation)),
        Err(error) => {
            progress(Progress::Unknown {
                reason: format!("{error:#}"),
            });
            let last = state.last.as_ref()?;
            (last.from.slot == device.booted).then(|| last.known.clone())?
        }
    }
}
