//! JSON logs on stderr, with a filter that can be changed for a while.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::task::AbortHandle;
use tokio::time::Instant;
use tracing::Subscriber;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Registry, reload};

use crate::configuration::Duration;

/// The environment variable of the filter at start.
pub const FILTER_VARIABLE: &str = "FIELDGATE_LOG";
/// The filter when none is given.
pub const DEFAULT_FILTER: &str = "info";
/// How long a changed filter holds when nothing is said.
pub const DEFAULT_EXPIRY: Duration = Duration::from_secs(15 * 60);
/// The longest a changed filter may hold.
pub const LONGEST_EXPIRY: Duration = Duration::from_secs(24 * 3600);

/// The logs could not be set up, or a filter was not understood.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The filter is wrong.
    #[error(
        "{filter:?} is not a log filter ({reason}); use error, warn, info, debug, trace or off, or target=level pairs with commas"
    )]
    Filter {
        /// As it was given.
        filter: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The expiry is wrong.
    #[error("a log filter holds for 1s to 24h, not for {0}")]
    Expiry(Duration),
    /// Logs were set up before.
    #[error("logs are set up already: {0}")]
    Twice(String),
}

/// Changes the filter of running logs. Clones control the same logs.
#[derive(Debug, Clone)]
pub struct LogControl {
    handle: reload::Handle<EnvFilter, Registry>,
    start: Arc<str>,
    current: Arc<Mutex<Current>>,
}

#[derive(Debug)]
struct Current {
    filter: String,
    expiry: Option<(Instant, AbortHandle)>,
}

/// Sets up the process's logs: JSON lines on stderr, filtered by `FIELDGATE_LOG`.
///
/// # Errors
/// When the filter is wrong, or logs were set up before.
pub fn init() -> Result<LogControl, LogError> {
    let filter = std::env::var(FILTER_VARIABLE).unwrap_or_default();
    let filter = if filter.trim().is_empty() {
        DEFAULT_FILTER.to_owned()
    } else {
        filter
    };
    let (subscriber, control) = subscriber(&filter, io::stderr)?;
    subscriber
        .try_init()
        .map_err(|error| LogError::Twice(error.to_string()))?;
    Ok(control)
}

/// JSON logs to any writer, and their control.
///
/// # Errors
/// When the filter is wrong.
pub fn subscriber<W>(
    filter: &str,
    writer: W,
) -> Result<(impl Subscriber + Send + Sync + use<W>, LogControl), LogError>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let (layer, handle) = reload::Layer::new(parse(filter)?);
    let json = tracing_subscriber::fmt::layer()
        .json()
        .flatten_event(true)
        .with_current_span(true)
        .with_span_list(false)
        .with_writer(writer);
    let control = LogControl {
        handle,
        start: filter.into(),
        current: Arc::new(Mutex::new(Current {
            filter: filter.to_owned(),
            expiry: None,
        })),
    };
    Ok((
        tracing_subscriber::registry().with(layer).with(json),
        control,
    ))
}

impl LogControl {
    /// Puts a filter in force for so long; then the one from the start comes back. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// When the filter or the time is wrong; the filter in force stays.
    pub fn set(&self, filter: &str, expiry: Duration) -> Result<(), LogError> {
        if !(Duration::from_secs(1)..=LONGEST_EXPIRY).contains(&expiry) {
            return Err(LogError::Expiry(expiry));
        }
        let parsed = parse(filter)?;
        let until = Instant::now() + expiry.get();
        let control = self.clone();
        let timer = tokio::spawn(async move {
            tokio::time::sleep_until(until).await;
            control.reset();
        });
        let previous = {
            let mut current = self.current();
            self.put(parsed);
            filter.clone_into(&mut current.filter);
            current.expiry.replace((until, timer.abort_handle()))
        };
        if let Some((_, timer)) = previous {
            timer.abort();
        }
        tracing::info!(filter, %expiry, "log filter changed");
        Ok(())
    }

    /// The filter in force, and how much longer when it is not the one from the start.
    pub fn get(&self) -> (String, Option<std::time::Duration>) {
        let current = self.current();
        let left = current
            .expiry
            .as_ref()
            .map(|(until, _)| until.saturating_duration_since(Instant::now()));
        (current.filter.clone(), left)
    }

    fn reset(&self) {
        {
            let mut current = self.current();
            if let Ok(filter) = parse(&self.start) {
                self.put(filter);
            }
            self.start.as_ref().clone_into(&mut current.filter);
            current.expiry = None;
        }
        tracing::info!(filter = &*self.start, "log filter is as at the start again");
    }

    fn put(&self, filter: EnvFilter) {
        // Fails only when the subscriber is gone, and the logs with it.
        let _ = self.handle.reload(filter);
    }

    fn current(&self) -> MutexGuard<'_, Current> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn parse(filter: &str) -> Result<EnvFilter, LogError> {
    let wrong = |reason: String| LogError::Filter {
        filter: filter.to_owned(),
        reason,
    };
    // EnvFilter takes a misspelt level for the name of a target, and then shows everything of it and nothing else.
    for part in filter.split(',').map(str::trim) {
        let known = ["off", "error", "warn", "info", "debug", "trace"];
        if !part.contains(['=', '[']) && !known.contains(&part.to_ascii_lowercase().as_str()) {
            return Err(wrong(format!("{part:?} is not a level")));
        }
    }
    EnvFilter::try_new(filter).map_err(|error| wrong(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_filter_holds_until_it_expires() {
        let lines = Lines::default();
        let writer = lines.clone();
        let (subscriber, control) = subscriber("warn", move || writer.clone()).unwrap();
        let _guard = tracing::subscriber::set_default(subscriber);
        tracing::debug!("one");
        control.set("debug", Duration::from_secs(60)).unwrap();
        tracing::debug!(device = "press-1", "two");
        assert!(control.get().1.is_some());
        tokio::time::sleep(std::time::Duration::from_secs(61)).await;
        assert_eq!(control.get(), ("warn".to_owned(), None));
        tracing::debug!("three");

        let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        assert!(!text.contains("one") && !text.contains("three"), "{text}");
        let line = text.lines().find(|line| line.contains("two")).unwrap();
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(line["device"], "press-1");
        assert_eq!(line["level"], "DEBUG");
    }

    #[tokio::test(start_paused = true)]
    async fn a_second_change_gets_its_own_time() {
        let (_subscriber, control) = subscriber("info", io::sink).unwrap();
        control.set("debug", Duration::from_secs(10)).unwrap();
        control.set("trace", Duration::from_secs(100)).unwrap();
        tokio::time::sleep(std::time::Duration::from_secs(50)).await;
        assert_eq!(control.get().0, "trace");
        tokio::time::sleep(std::time::Duration::from_secs(51)).await;
        assert_eq!(control.get().0, "info");
    }

    #[test]
    fn misspelt_levels_are_refused() {
        for good in ["info", "WARN", "info,hyper=debug", "module_runtime=trace"] {
            assert!(parse(good).is_ok(), "{good}");
        }
        for bad in ["", "debgu", "info,x=loud"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
