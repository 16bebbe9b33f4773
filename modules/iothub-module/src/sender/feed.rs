//! What waits in the queue, in front of the sender: for each priority what came since the connection began (live), and what lay there before
//! (backlog). Small buffers are filled ahead of what is sent, the live ones first.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use store_forward::{Found, Priority, Queue, QueueError, Sequence, StoredItem};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::pace::{Class, Lane, Waiting};

/// One read of the queue takes at most so many items and bytes; the next one runs while these are sent.
const READ_ITEMS: usize = 64;
const READ_BYTES: usize = 256 * 1024;
/// A backlog up to this is sent in front of what is new: it is gone in a moment, and the order stays whole.
const NO_BACKLOG: u64 = 500;
/// Wait after a failure of the queue's storage.
const STORAGE_WAIT: Duration = Duration::from_secs(1);

type OfKey = Arc<dyn Fn(&str) -> bool + Send + Sync>;
type OfKeyAndRoute = Arc<dyn Fn(&str, &str) -> bool + Send + Sync>;

/// Which items a sender sends.
#[derive(Clone)]
pub enum Mine {
    /// All of them.
    All,
    /// Those of some keys.
    Keys(OfKey),
    /// Those of which this holds, by their partition key and the name of their route. Costs more: the queue knows no routes before it has read
    /// the whole item.
    KeysAndRoutes(OfKeyAndRoute),
}

impl Mine {
    fn is(&self, item: &StoredItem) -> bool {
        match self {
            Self::All => true,
            Self::Keys(mine) => mine(&item.key),
            Self::KeysAndRoutes(mine) => mine(&item.key, item.route.as_str()),
        }
    }
}

impl std::fmt::Debug for Mine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::All => "All",
            Self::Keys(_) => "Keys",
            Self::KeysAndRoutes(_) => "KeysAndRoutes",
        })
    }
}

type Read = Pin<Box<dyn Future<Output = Answer> + Send>>;

struct Answer {
    source: usize,
    asked_to: Sequence,
    found: Result<Found, QueueError>,
}

/// The queue was closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Closed;

/// One priority, live or backlog.
struct Source {
    class: Class,
    /// What it begins after.
    from: Sequence,
    /// Everything up to here was read.
    read_to: Sequence,
    until: Sequence,
    buffer: VecDeque<(StoredItem, Instant)>,
    /// Of what is in the buffer.
    bytes: usize,
}

/// See the module's documentation.
pub(super) struct Feed {
    queue: Queue,
    mine: Mine,
    changed: watch::Receiver<Sequence>,
    /// Live before backlog, the highest priority first.
    sources: Vec<Source>,
    read: Option<Read>,
    /// Whether there may be something to read.
    look: bool,
}

impl Feed {
    /// What is in the queue now is backlog, unless it is little.
    pub(super) fn new(queue: Queue, mine: Mine) -> Self {
        let mut changed = queue.changed();
        let last = *changed.borrow_and_update();
        let boundary = if queue.stats().depth > NO_BACKLOG {
            last
        } else {
            Sequence::START
        };
        let lane = |lane, after, until| {
            Priority::descending().map(move |priority| Source {
                class: Class { lane, priority },
                from: after,
                read_to: after,
                until,
                buffer: VecDeque::new(),
                bytes: 0,
            })
        };
        let live = lane(Lane::Live, boundary, Sequence::END);
        let backlog = lane(Lane::Backlog, Sequence::START, boundary);
        let sources = live.chain(backlog).collect();
        Self {
            queue,
            mine,
            changed,
            sources,
            read: None,
            look: true,
        }
    }

    /// Which lines have something to send.
    pub(super) fn waiting(&self) -> Waiting {
        let mut waiting = Waiting::default();
        for source in &self.sources {
            let Some((_, since)) = source.buffer.front() else {
                continue;
            };
            let Class { lane, priority } = source.class;
            match lane {
                Lane::Live => {
                    waiting.live = waiting.live.with(priority);
                    let since = since.into_std();
                    waiting.live_since =
                        Some(waiting.live_since.map_or(since, |known| known.min(since)));
                }
                Lane::Backlog => waiting.backlog = waiting.backlog.with(priority),
            }
        }
        waiting
    }

    /// The next item of a line.
    pub(super) fn take(&mut self, class: Class) -> Option<StoredItem> {
        let source = self
            .sources
            .iter_mut()
            .find(|source| source.class == class)?;
        let item = source.pop()?;
        if source.wants_more() {
            self.look = true;
        }
        Some(item)
    }

    /// Begins to read at the start again, of the same lines.
    pub(super) fn rewind(&mut self) {
        self.read = None;
        self.look = true;
        for source in &mut self.sources {
            source.read_to = source.from;
            source.buffer.clear();
            source.bytes = 0;
        }
    }

    /// Starts to read for the first line that is short of items, unless a read runs.
    pub(super) fn start_read(&mut self) {
        if self.read.is_some() || !self.look {
            return;
        }
        self.look = false;
        for (index, source) in self.sources.iter().enumerate() {
            if let Some(asked_to) = source.next_read(&self.queue) {
                self.read = Some(read(
                    self.queue.clone(),
                    self.mine.clone(),
                    index,
                    source,
                    asked_to,
                    Duration::ZERO,
                ));
                self.look = true;
                return;
            }
        }
    }

    /// Leaves out what need not be sent any more, at the head of each line.
    pub(super) fn skip(&mut self, is_done: impl Fn(Sequence) -> bool) {
        for source in &mut self.sources {
            while source
                .buffer
                .front()
                .is_some_and(|(item, _)| is_done(item.sequence))
            {
                source.pop();
                self.look = true;
            }
        }
    }

    /// Waits until something was read or has been stored. Cancel-safe.
    pub(super) async fn progress(&mut self) -> Result<(), Closed> {
        tokio::select! {
            biased;
            answer = reading(&mut self.read) => self.filled(answer),
            changed = self.changed.changed(), if !self.look => {
                self.look = true;
                changed.map_err(|_| Closed)
            }
        }
    }

    fn filled(&mut self, answer: Answer) -> Result<(), Closed> {
        self.read = None;
        let source = &mut self.sources[answer.source];
        match answer.found {
            Ok(Found { items, looked_to }) => {
                source.read_to = looked_to;
                let now = Instant::now();
                let items = items.into_iter();
                for item in items.filter(|item| self.mine.is(item)) {
                    source.bytes += item.size();
                    source.buffer.push_back((item, now));
                }
                Ok(())
            }
            Err(QueueError::Closed) => Err(Closed),
            Err(error) => {
                tracing::error!(%error, "the queue cannot be read; trying again");
                let again = read(
                    self.queue.clone(),
                    self.mine.clone(),
                    answer.source,
                    source,
                    answer.asked_to,
                    STORAGE_WAIT,
                );
                self.read = Some(again);
                Ok(())
            }
        }
    }
}

impl Source {
    /// Large events are held in small numbers.
    fn wants_more(&self) -> bool {
        self.buffer.len() < READ_ITEMS / 2 && self.bytes < READ_BYTES
    }

    fn pop(&mut self) -> Option<StoredItem> {
        let (item, _) = self.buffer.pop_front()?;
        self.bytes -= item.size();
        Some(item)
    }

    /// Up to which item a read is worth while: there is one, as of the last commit.
    fn next_read(&self, queue: &Queue) -> Option<Sequence> {
        if !self.wants_more() || self.read_to >= self.until {
            return None;
        }
        let stats = queue.priority(self.class.priority);
        let (first, last) = (stats.first?, stats.last?);
        (first <= self.until && last > self.read_to).then_some(last.min(self.until))
    }
}

fn read(
    queue: Queue,
    mine: Mine,
    index: usize,
    source: &Source,
    asked_to: Sequence,
    after: Duration,
) -> Read {
    let (priority, from) = (source.class.priority, source.read_to);
    Box::pin(async move {
        if !after.is_zero() {
            tokio::time::sleep(after).await;
        }
        let found = match mine {
            Mine::Keys(mine) => {
                let mine = move |key: &str| mine(key);
                queue
                    .read_priority_of(priority, from, asked_to, READ_ITEMS, READ_BYTES, mine)
                    .await
            }
            Mine::All | Mine::KeysAndRoutes(_) => queue
                .read_priority(priority, from, asked_to, READ_ITEMS, READ_BYTES)
                .await
                .map(|items| Found {
                    looked_to: items.last().map_or(asked_to, |last| last.sequence),
                    items,
                }),
        };
        Answer {
            source: index,
            asked_to,
            found,
        }
    })
}

async fn reading(read: &mut Option<Read>) -> Answer {
    match read {
        Some(read) => read.await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use store_forward::{NewItem, WhenFull};

    use super::*;
    use crate::testing::queue;

    fn items(numbers: std::ops::Range<u64>, priority: Priority) -> Vec<NewItem> {
        let item = |number: u64| NewItem {
            id: number.to_string(),
            priority,
            ..NewItem::default()
        };
        numbers.map(item).collect()
    }

    fn class(lane: Lane, priority: Priority) -> Class {
        Class { lane, priority }
    }

    /// Everything that a line gives until nothing more is read.
    async fn drain(feed: &mut Feed, of: Class) -> Vec<String> {
        let mut ids = Vec::new();
        loop {
            feed.start_read();
            while let Some(item) = feed.take(of) {
                ids.push(item.id);
            }
            feed.start_read();
            if feed.read.is_none() {
                return ids;
            }
            feed.progress().await.unwrap();
        }
    }

    #[tokio::test]
    async fn what_came_since_is_live_and_what_lay_there_is_backlog() {
        let (queue, _folder) = queue(8 << 20, WhenFull::Reject);
        queue
            .append(items(0..900, Priority::DEFAULT))
            .await
            .unwrap();
        queue
            .append(items(900..910, Priority::LOWEST))
            .await
            .unwrap();
        let mut feed = Feed::new(queue.clone(), Mine::All);
        queue
            .append(items(910..1010, Priority::DEFAULT))
            .await
            .unwrap();
        let ids = |range: std::ops::Range<u64>| range.map(|id| id.to_string()).collect::<Vec<_>>();
        assert_eq!(
            drain(&mut feed, class(Lane::Live, Priority::DEFAULT)).await,
            ids(910..1010)
        );
        assert_eq!(
            drain(&mut feed, class(Lane::Backlog, Priority::LOWEST)).await,
            ids(900..910)
        );
        assert_eq!(
            drain(&mut feed, class(Lane::Backlog, Priority::DEFAULT)).await,
            ids(0..900)
        );
        assert_eq!(feed.waiting(), Waiting::default());
    }

    #[tokio::test]
    async fn live_data_is_there_while_the_backlog_is_not_half_read() {
        let (queue, _folder) = queue(8 << 20, WhenFull::Reject);
        queue
            .append(items(0..2000, Priority::DEFAULT))
            .await
            .unwrap();
        let mut feed = Feed::new(queue.clone(), Mine::All);
        feed.start_read();
        feed.progress().await.unwrap();
        let waiting = feed.waiting();
        assert!(waiting.live.is_empty() && waiting.backlog.has(Priority::DEFAULT));
        queue
            .append(items(2000..2001, Priority::HIGHEST))
            .await
            .unwrap();
        while feed.waiting().live.is_empty() {
            feed.start_read();
            feed.progress().await.unwrap();
        }
        let live = feed.take(class(Lane::Live, Priority::HIGHEST)).unwrap();
        assert_eq!(live.id, "2000");
        assert!(feed.waiting().live_since.is_none());
    }

    #[tokio::test]
    async fn a_little_that_was_left_over_goes_in_front_of_what_is_new() {
        let (queue, _folder) = queue(8 << 20, WhenFull::Reject);
        queue.append(items(0..10, Priority::DEFAULT)).await.unwrap();
        let mut feed = Feed::new(queue.clone(), Mine::All);
        queue
            .append(items(10..20, Priority::DEFAULT))
            .await
            .unwrap();
        let all = drain(&mut feed, class(Lane::Live, Priority::DEFAULT)).await;
        assert_eq!(all.len(), 20);
        assert_eq!(all[0], "0");
    }

    #[tokio::test]
    async fn of_large_events_few_are_held() {
        let (queue, _folder) = queue(64 << 20, WhenFull::Reject);
        let mut large = items(0..40, Priority::DEFAULT);
        for item in &mut large {
            item.payload = vec![0; 200 * 1024].into();
        }
        for items in large.chunks(10) {
            queue.append(items.to_vec()).await.unwrap();
        }
        let mut feed = Feed::new(queue.clone(), Mine::All);
        let live = class(Lane::Live, Priority::DEFAULT);
        loop {
            feed.start_read();
            if feed.read.is_none() {
                break;
            }
            feed.progress().await.unwrap();
        }
        let held: usize = feed.sources.iter().map(|source| source.buffer.len()).sum();
        assert_eq!(held, 2);
        assert_eq!(drain(&mut feed, live).await.len(), 40);
        assert!(feed.sources.iter().all(|source| source.bytes == 0));
    }

    #[tokio::test]
    async fn what_is_done_is_left_out_and_a_closed_queue_is_told() {
        let (queue, _folder) = queue(8 << 20, WhenFull::Reject);
        let sequences = queue.append(items(0..3, Priority::DEFAULT)).await.unwrap();
        let mut feed = Feed::new(queue.clone(), Mine::All);
        feed.start_read();
        feed.progress().await.unwrap();
        feed.skip(|sequence| sequence == sequences[0]);
        let of = class(Lane::Live, Priority::DEFAULT);
        assert_eq!(feed.take(of).unwrap().id, "1");
        queue.close().await.unwrap();
        loop {
            feed.start_read();
            if feed.progress().await == Err(Closed) {
                break;
            }
        }
    }
}
