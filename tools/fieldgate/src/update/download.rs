//! Fetches a bundle by HTTP(S): goes on after a cut where it was, also after a restart of the device, and begins anew when the file at the
//! server is another one.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use nix::sys::statvfs::statvfs;
use reqwest::header::{CONTENT_RANGE, ETAG, HeaderMap, IF_RANGE, LAST_MODIFIED, RANGE};
use reqwest::{Client, Response, StatusCode, Url};
use serde::{Deserialize, Serialize};
use tokio::fs::{File, OpenOptions};
use tokio::io::{AsyncSeekExt, AsyncWriteExt, SeekFrom};
use tokio::time::sleep;

use super::error::UpdateError;
use super::source::shown;
use crate::sha256::sha256;
use crate::whole_file;

/// What bounds a download.
#[derive(Debug, Clone)]
pub(crate) struct Limits {
    /// Bytes of a bundle; a root file system has 2 GiB at most.
    pub(crate) largest: u64,
    /// Bytes that stay free on the disk: queue and broker need some.
    pub(crate) spare: u64,
    /// Attempts in a row that bring no byte.
    pub(crate) attempts: u32,
    /// First and longest wait between two attempts.
    pub(crate) wait: (Duration, Duration),
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            largest: 4 << 30,
            spare: 64 << 20,
            attempts: 8,
            wait: (Duration::from_secs(1), Duration::from_secs(30)),
        }
    }
}

/// How long no byte may come.
pub(crate) const STALL: Duration = Duration::from_secs(60);
/// Space is asked for again after so many bytes.
const ASK_SPACE: u64 = 16 << 20;

/// What is known of the file that is partly there.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Record {
    /// The SHA-256 of the URL, which may hold a secret.
    url: String,
    #[serde(default)]
    etag: Option<String>,
    #[serde(default)]
    last_modified: Option<String>,
    #[serde(default)]
    size: Option<u64>,
}

/// A download into a folder of its own.
pub(crate) struct Download<'a> {
    pub(crate) client: &'a Client,
    pub(crate) url: &'a Url,
    pub(crate) folder: &'a Path,
    pub(crate) limits: &'a Limits,
    /// Whether the whole is checked afterwards: then a server that tells nothing to compare may go on, too.
    pub(crate) is_checked: bool,
}

/// Why an attempt ended.
enum Cut {
    /// Worth another attempt.
    Again(String),
    Final(UpdateError),
}

impl From<UpdateError> for Cut {
    fn from(error: UpdateError) -> Self {
        Self::Final(error)
    }
}

impl From<anyhow::Error> for Cut {
    fn from(error: anyhow::Error) -> Self {
        Self::Final(error.into())
    }
}

/// The file of a folder of downloads.
pub(crate) fn bundle(folder: &Path) -> PathBuf {
    folder.join("download.raucb")
}

fn record(folder: &Path) -> PathBuf {
    folder.join("download.json")
}

/// Removes what was downloaded.
pub(crate) fn clear(folder: &Path) -> anyhow::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("removing {}", folder.display()))
        }
        _ => Ok(()),
    }
}

impl Download<'_> {
    /// Until the file is whole; `progress` gets the bytes that are there and how many there will be.
    pub(crate) async fn run(
        &self,
        progress: &mut (dyn FnMut(u64, Option<u64>) + Send),
    ) -> Result<PathBuf, UpdateError> {
        fs::create_dir_all(self.folder)
            .with_context(|| format!("making {}", self.folder.display()))?;
        let path = bundle(self.folder);
        let mut failures = 0;
        loop {
            let before = length(&path);
            let reason = match self.attempt(&path, progress).await {
                Ok(()) => return Ok(path),
                Err(Cut::Final(error)) => {
                    // What there is of it takes room that others need.
                    if matches!(error, UpdateError::NoSpace { .. }) {
                        self.forget()?;
                    }
                    return Err(error);
                }
                Err(Cut::Again(reason)) => reason,
            };
            failures = if length(&path) > before {
                0
            } else {
                failures + 1
            };
            if failures >= self.limits.attempts {
                return Err(self.failed(format!(
                    "{reason}; gave up after {failures} attempts without a byte, the next call goes on from here"
                )));
            }
            let (first, longest) = self.limits.wait;
            sleep((first * 2_u32.saturating_pow(failures)).min(longest)).await;
        }
    }

    fn failed(&self, reason: impl Into<String>) -> UpdateError {
        UpdateError::Download {
            from: shown(self.url),
            reason: reason.into(),
        }
    }

    async fn attempt(
        &self,
        path: &Path,
        progress: &mut (dyn FnMut(u64, Option<u64>) + Send),
    ) -> Result<(), Cut> {
        let known = self.known();
        let there = length(path);
        // The last byte of a whole file is asked for again: the answer says whether it is still the same.
        let start = match known.size {
            Some(size) if there >= size => size.saturating_sub(1),
            _ => there,
        };
        let mut request = self.client.get(self.url.clone());
        let validator = known.validator();
        let goes_on = start > 0 && (validator.is_some() || self.is_checked);
        if goes_on {
            request = request.header(RANGE, format!("bytes={start}-"));
            if let Some(validator) = validator {
                request = request.header(IF_RANGE, validator);
            }
        }
        let response = request
            .send()
            .await
            .map_err(|error| Cut::Again(told(&error)))?;
        let found = Record::of(&self.hash(), response.headers());
        match response.status() {
            StatusCode::PARTIAL_CONTENT if goes_on => {
                let range = content_range(response.headers());
                let same = range.is_some_and(|(from, size)| {
                    from == start
                        && size > start
                        && known.size.is_none_or(|known| known == size)
                        && found.may_be(&known)
                });
                if !same {
                    self.forget()?;
                    return Err(Cut::Again(
                        "the file at the server is another one now; beginning anew".to_owned(),
                    ));
                }
                let size = range.map(|(_, size)| size);
                self.write(path, start, size, response, progress).await
            }
            StatusCode::OK => {
                let size = response.content_length();
                self.forget()?;
                self.check(size, 0)?;
                self.remember(&Record { size, ..found })?;
                self.write(path, 0, size, response, progress).await
            }
            StatusCode::RANGE_NOT_SATISFIABLE => {
                self.forget()?;
                Err(Cut::Again(
                    "what is there does not fit to the server's file".to_owned(),
                ))
            }
            status
                if status.is_server_error()
                    || matches!(
                        status,
                        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS
                    ) =>
            {
                Err(Cut::Again(format!("the server answers {status}")))
            }
            status => Err(self
                .failed(format!(
                    "the server answers {status}; is the address right?"
                ))
                .into()),
        }
    }

    async fn write(
        &self,
        path: &Path,
        start: u64,
        size: Option<u64>,
        mut response: Response,
        progress: &mut (dyn FnMut(u64, Option<u64>) + Send),
    ) -> Result<(), Cut> {
        let context = || format!("writing {}", path.display());
        self.check(size, start)?;
        let mut file = open(path, start).await.with_context(context)?;
        let mut there = start;
        let mut asked = start;
        let outcome = loop {
            match response.chunk().await {
                Ok(Some(bytes)) => {
                    there += bytes.len() as u64;
                    if there > size.unwrap_or(self.limits.largest) {
                        break Err(self.failed("it sends more than it said").into());
                    }
                    // Queue and broker go on writing.
                    if there - asked > ASK_SPACE {
                        asked = there;
                        if let Err(error) = self.check(size, there) {
                            break Err(error.into());
                        }
                    }
                    if let Err(error) = file.write_all(&bytes).await {
                        break Err(self.not_written(error, size, there).into());
                    }
                    progress(there, size);
                }
                Ok(None) if size.is_none_or(|size| there == size) => break Ok(()),
                Ok(None) => {
                    break Err(Cut::Again(format!(
                        "the connection ended after {there} bytes"
                    )));
                }
                Err(error) => break Err(Cut::Again(told(&error))),
            }
        };
        // What came counts, also when more did not.
        if let Err(error) = file.flush().await {
            return Err(self.not_written(error, size, there).into());
        }
        file.sync_all().await.with_context(context)?;
        outcome
    }

    fn not_written(&self, error: std::io::Error, size: Option<u64>, there: u64) -> UpdateError {
        if error.kind() == std::io::ErrorKind::StorageFull
            && let Err(no_space) = self.check(size, there)
        {
            return no_space;
        }
        let path = bundle(self.folder);
        anyhow::Error::new(error)
            .context(format!("writing {}", path.display()))
            .into()
    }

    /// Whether what is still to come fits.
    fn check(&self, size: Option<u64>, there: u64) -> Result<(), UpdateError> {
        if size.is_some_and(|size| size > self.limits.largest) {
            return Err(self.failed(format!(
                "{} MiB are more than a bundle can have ({} MiB)",
                size.unwrap_or_default() >> 20,
                self.limits.largest >> 20
            )));
        }
        let found = statvfs(self.folder)
            .with_context(|| format!("asking how much space {} has", self.folder.display()))?;
        let free = found
            .blocks_available()
            .saturating_mul(found.fragment_size());
        let to_come = size.map_or(ASK_SPACE, |size| size.saturating_sub(there));
        let needed = to_come.saturating_add(self.limits.spare);
        if free < needed {
            return Err(UpdateError::NoSpace {
                folder: self.folder.to_owned(),
                free: free >> 20,
                needed: needed >> 20,
            });
        }
        Ok(())
    }

    fn hash(&self) -> String {
        sha256(self.url.as_str().as_bytes())
    }

    /// What is known of what is there; of another address that is nothing.
    fn known(&self) -> Record {
        let url = self.hash();
        fs::read_to_string(record(self.folder))
            .ok()
            .and_then(|text| serde_json::from_str(&text).ok())
            .filter(|record: &Record| record.url == url)
            .unwrap_or_else(|| {
                // Bytes of which nobody knows what they are.
                let _ = fs::remove_file(bundle(self.folder));
                Record::default()
            })
    }

    fn remember(&self, known: &Record) -> anyhow::Result<()> {
        let text = serde_json::to_string(known).context("writing what is known of the download")?;
        whole_file::write(&record(self.folder), text.as_bytes(), 0o600)
    }

    fn forget(&self) -> anyhow::Result<()> {
        for path in [bundle(self.folder), record(self.folder)] {
            match fs::remove_file(&path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(error).with_context(|| format!("removing {}", path.display()));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

impl Record {
    fn of(url: &str, headers: &HeaderMap) -> Self {
        let text = |name| {
            headers
                .get(name)
                .and_then(|value| value.to_str().ok())
                .map(str::to_owned)
        };
        Self {
            url: url.to_owned(),
            etag: text(ETAG),
            last_modified: text(LAST_MODIFIED),
            size: None,
        }
    }

    /// What If-Range may hold (RFC 9110, 13.1.5): a strong tag, else the date.
    fn validator(&self) -> Option<&str> {
        let strong = self.etag.as_deref().filter(|tag| !tag.starts_with("W/"));
        strong.or(self.last_modified.as_deref())
    }

    /// Whether an answer that tells less or the same is of the same file.
    fn may_be(&self, known: &Self) -> bool {
        let agree = |a: &Option<String>, b: &Option<String>| a.is_none() || b.is_none() || a == b;
        agree(&self.etag, &known.etag) && agree(&self.last_modified, &known.last_modified)
    }
}

async fn open(path: &Path, start: u64) -> std::io::Result<File> {
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .await?;
    file.set_len(start).await?;
    file.seek(SeekFrom::Start(start)).await?;
    Ok(file)
}

fn length(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |data| data.len())
}

/// `bytes 7-99/100`: the first byte and the size of the whole.
fn content_range(headers: &HeaderMap) -> Option<(u64, u64)> {
    let text = headers.get(CONTENT_RANGE)?.to_str().ok()?;
    let (range, size) = text.strip_prefix("bytes ")?.split_once('/')?;
    let (from, _) = range.split_once('-')?;
    Some((from.parse().ok()?, size.parse().ok()?))
}

/// The causes, too, without the URL, which may hold a secret.
fn told(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return format!("no byte for {} s", STALL.as_secs());
    }
    let mut causes = Vec::new();
    let mut cause = std::error::Error::source(error);
    while let Some(next) = cause {
        let text = next.to_string();
        // Layers repeat each other.
        if causes.last() != Some(&text) {
            causes.push(text);
        }
        cause = next.source();
    }
    causes
        .pop()
        .unwrap_or_else(|| "the connection failed".to_owned())
}

#[cfg(test)]
mod tests;
