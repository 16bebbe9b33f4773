//! Modbus RTU server on a pseudo terminal, with a symbolic link to the end a master opens.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, ptsname, unlockpt};
use rustix::termios::{OptionalActions, ioctl_tiocnxcl, tcgetattr, tcsetattr};
use tokio::io::unix::AsyncFd;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::rtu::{self, Received};
use crate::units::Units;

/// Ends an unfinished request. A real line says so after 3.5 characters; a pseudo terminal has no baud rate, and a
/// master that the scheduler holds up in mid-frame must not lose it.
const SILENCE: Duration = Duration::from_millis(20);
/// How often an idle line is made free for the next master.
const IDLE: Duration = Duration::from_millis(500);
/// An answer that nobody takes is given up after this time.
const WRITE_TIMEOUT: Duration = Duration::from_secs(1);
/// The longest RTU frame (MODBUS over Serial Line V1.02, 2.5.1.1).
const MAX_FRAME: usize = 256;

/// A line between this program and whoever opens the link.
#[derive(Debug)]
pub(crate) struct Line {
    ours: AsyncFd<OwnedFd>,
    /// Kept open so that the line survives the time between two masters.
    theirs: OwnedFd,
    link: PathBuf,
    target: PathBuf,
}

impl Line {
    /// Creates the pseudo terminal in raw mode and its link; an old link of that name is replaced.
    ///
    /// # Errors
    /// Also when something that is no symbolic link has the name.
    pub(crate) fn open(link: &Path) -> io::Result<Self> {
        let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
        grantpt(&ours)?;
        unlockpt(&ours)?;
        let theirs = ioctl_tiocgptpeer(
            &ours,
            OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC,
        )?;
        let mut settings = tcgetattr(&theirs)?;
        settings.make_raw();
        tcsetattr(&theirs, OptionalActions::Now, &settings)?;
        rustix::io::ioctl_fionbio(&ours, true)?;
        let target = PathBuf::from(ptsname(&ours, Vec::new())?.to_string_lossy().into_owned());
        if let Some(folder) = link.parent() {
            fs::create_dir_all(folder)?;
        }
        if fs::symlink_metadata(link).is_ok_and(|old| old.is_symlink()) {
            fs::remove_file(link)?;
        }
        symlink(&target, link)?;
        #[expect(
            deprecated,
            reason = "the replacement is unsafe; an OwnedFd keeps its descriptor open, which is all it asks for"
        )]
        let ours = AsyncFd::new(ours)?;
        Ok(Self {
            ours,
            theirs,
            link: link.to_owned(),
            target,
        })
    }

    async fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let mut ready = self.ours.readable().await?;
            if let Ok(result) = ready.try_io(|line| Ok(rustix::io::read(line, &mut *buffer)?)) {
                return result;
            }
        }
    }

    async fn write_all(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let mut ready = self.ours.writable().await?;
            if let Ok(result) = ready.try_io(|line| Ok(rustix::io::write(line, bytes)?)) {
                bytes = bytes.get(result?..).unwrap_or_default();
            }
        }
        Ok(())
    }

    /// A master that was killed leaves its claim on the terminal behind, because the terminal itself stays open here.
    fn release_claim(&self) {
        if let Err(error) = ioctl_tiocnxcl(&self.theirs) {
            debug!(%error, "cannot take back TIOCEXCL");
        }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        if fs::read_link(&self.link).is_ok_and(|target| target == self.target) {
            let _ = fs::remove_file(&self.link);
        }
    }
}

/// Answers requests until stopped.
pub(crate) async fn serve(line: Line, units: Arc<Units>, stop: CancellationToken) {
    let link = line.link.clone();
    if let Some(Err(error)) = stop.run_until_cancelled(converse(&line, &units)).await {
        warn!(link = %link.display(), %error, "the line is broken");
    }
}

async fn converse(line: &Line, units: &Units) -> io::Result<()> {
    let mut buffer = vec![0; 4 * MAX_FRAME];
    let mut filled = 0;
    let mut out = Vec::with_capacity(2 * MAX_FRAME);
    loop {
        let patience = if filled == 0 { IDLE } else { SILENCE };
        match timeout(patience, line.read(&mut buffer[filled..])).await {
            Ok(read) => filled += read?,
            Err(_) if filled == 0 => line.release_claim(),
            // What is left in the buffer was no request, and its end has come.
            Err(_) => filled = 0,
        }
        let mut start = 0;
        while let Received::Request(length) = rtu::examine(&buffer[start..filled]) {
            let frame = &buffer[start..start + length];
            start += length;
            let delay = answer(frame, units, &mut out);
            if let Some(delay) = delay {
                sleep(delay).await;
            }
            if timeout(WRITE_TIMEOUT, line.write_all(&out)).await.is_err() {
                debug!(link = %line.link.display(), "nobody takes the answers");
            }
            out.clear();
        }
        buffer.copy_within(start..filled, 0);
        filled -= start;
        if filled == buffer.len() {
            filled = 0;
        }
    }
}

/// Puts the whole answer frame into `out`, or nothing, and says how long to hold it back.
fn answer(frame: &[u8], units: &Units, out: &mut Vec<u8>) -> Option<Duration> {
    let (Some(unit), Some(request)) = (frame.first(), frame.get(1..frame.len() - 2)) else {
        return None;
    };
    if *unit == 0 {
        // A broadcast is carried out by all and answered by none (MODBUS over Serial Line V1.02, 2.1).
        for device in units.all() {
            device.answer(request, out);
        }
        out.clear();
        return None;
    }
    let device = units.get(*unit)?;
    out.push(*unit);
    let reaction = device.answer(request, out);
    if reaction.silent || reaction.disconnect {
        out.clear();
        return None;
    }
    if reaction.wrong_transaction {
        out[0] = out[0].wrapping_add(1);
    }
    rtu::append_crc(out, 0);
    if reaction.corrupt
        && let Some(last) = out.last_mut()
    {
        *last ^= 0xff;
    }
    reaction.delay
}
