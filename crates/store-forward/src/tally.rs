//! What is in the tables, by priority and by route.

use crate::item::{Priority, Route};

/// Routes that are told apart; what comes by others is counted together, so that a file full of names costs no memory.
const MOST_ROUTES: usize = 256;
/// The name of those others.
const OTHERS: &str = "(others)";

/// What is in the tables. Changes with a transaction and goes back with it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// The highest sequence number ever given out.
    pub(crate) last: u64,
    /// Whether a row has it, so that it survives.
    pub(crate) last_present: bool,
    /// The row that has it without being an item.
    pub(crate) mark: Option<u64>,
    /// A note is there, sound or not.
    pub(crate) note: bool,
    pub(crate) lanes: [Lane; Priority::COUNT],
    pub(crate) routes: Vec<(Route, Content)>,
}

/// Items and their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Content {
    pub(crate) items: u64,
    pub(crate) bytes: u64,
}

impl Content {
    pub(crate) fn add(&mut self, other: Self) {
        self.items += other.items;
        self.bytes += other.bytes;
    }

    pub(crate) fn take(&mut self, other: Self) {
        self.items = self.items.saturating_sub(other.items);
        self.bytes = self.bytes.saturating_sub(other.bytes);
    }
}

/// The table of one priority.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Lane {
    pub(crate) content: Content,
    /// Items with a lifetime.
    pub(crate) timed: u64,
    /// The oldest item's number, and when it came, in microseconds since 1970. None within a transaction: to be looked up.
    pub(crate) oldest: Option<(u64, i64)>,
    /// The newest item's number. None within a transaction: to be looked up.
    pub(crate) newest: Option<u64>,
    /// Rows up to this number are of items that are gone.
    pub(crate) gone: u64,
    /// Bytes of those whose rows are still there.
    pub(crate) gone_bytes: u64,
    /// What the file says of `gone`.
    pub(crate) gone_stored: u64,
}

impl Lane {
    pub(crate) fn is_empty(&self) -> bool {
        self.content.items == 0
    }

    /// Whether an item of a range of numbers can be in it.
    pub(crate) fn may_hold(&self, first: u64, last: u64) -> bool {
        !self.is_empty()
            && self.oldest.is_none_or(|(oldest, _)| oldest <= last)
            && self.newest.is_none_or(|newest| newest >= first)
    }
}

impl Tally {
    pub(crate) fn depth(&self) -> u64 {
        self.lanes.iter().map(|lane| lane.content.items).sum()
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.lanes.iter().map(|lane| lane.content.bytes).sum()
    }

    pub(crate) fn timed(&self) -> u64 {
        self.lanes.iter().map(|lane| lane.timed).sum()
    }

    /// Tables that hold anything.
    pub(crate) fn tables(&self) -> u64 {
        self.lanes.iter().filter(|lane| !lane.is_empty()).count() as u64
    }

    /// The oldest item of all: when it came.
    pub(crate) fn oldest(&self) -> Option<i64> {
        let oldest = self.lanes.iter().filter_map(|lane| lane.oldest).min();
        oldest.map(|(_, enqueued)| enqueued)
    }

    /// The lowest priority that has items.
    pub(crate) fn lowest(&self) -> Option<Priority> {
        Priority::descending()
            .rev()
            .find(|priority| !self.lanes[priority.index()].is_empty())
    }

    pub(crate) fn lane(&mut self, priority: Priority) -> &mut Lane {
        &mut self.lanes[priority.index()]
    }

    /// Counts an item that has come, or was found. `route` as the table keeps it; gives the one that it counts for.
    pub(crate) fn add(
        &mut self,
        sequence: u64,
        enqueued: i64,
        size: u64,
        terms: &crate::row::Terms<'_>,
    ) -> Route {
        let content = Content {
            items: 1,
            bytes: size,
        };
        let lane = self.lane(terms.priority);
        if lane.is_empty() {
            lane.oldest = Some((sequence, enqueued));
        }
        // Otherwise unknown, and looked up at the end of the transaction.
        if lane.is_empty() || lane.newest.is_some() {
            lane.newest = Some(sequence);
        }
        lane.content.add(content);
        lane.timed += u64::from(terms.expires.is_some());
        let index = self.route_index(terms.route);
        self.routes[index].1.add(content);
        self.routes[index].0.clone()
    }

    /// The route of this name, for a caller to keep.
    pub(crate) fn route(&self, stored: Option<&str>) -> Route {
        let found = self
            .routes
            .iter()
            .find(|(route, _)| route.stored() == stored);
        match (found, stored) {
            (Some((route, _)), _) => route.clone(),
            (None, name) => name.and_then(Route::new).unwrap_or_default(),
        }
    }

    /// The route of this name, or the default if none that is known has it.
    pub(crate) fn known(&self, stored: Option<&str>) -> Route {
        let found = self
            .routes
            .iter()
            .find(|(route, _)| route.stored() == stored);
        found.map_or_else(Route::default, |(route, _)| route.clone())
    }

    /// The place of the route that a name is counted under.
    fn route_index(&mut self, stored: Option<&str>) -> usize {
        let place = |routes: &[(Route, Content)], stored| {
            routes
                .iter()
                .position(|(route, _)| route.stored() == stored)
        };
        if let Some(index) = place(&self.routes, stored) {
            return index;
        }
        let route = match stored {
            Some(name) if self.routes.len() < MOST_ROUTES => Route::new(name).unwrap_or_default(),
            None => Route::default(),
            Some(_) => {
                if let Some(index) = place(&self.routes, Some(OTHERS)) {
                    return index;
                }
                Route::new(OTHERS).unwrap_or_default()
            }
        };
        self.routes.push((route, Content::default()));
        self.routes.len() - 1
    }

    /// Counts an item off, and gives the route that it counted for.
    pub(crate) fn take(
        &mut self,
        priority: Priority,
        stored: Option<&str>,
        size: u64,
        timed: bool,
    ) -> Route {
        let content = Content {
            items: 1,
            bytes: size,
        };
        let lane = self.lane(priority);
        lane.content.take(content);
        lane.timed = lane.timed.saturating_sub(u64::from(timed));
        let index = self.route_index(stored);
        self.routes[index].1.take(content);
        self.routes[index].0.clone()
    }

    /// Items of a lane between two numbers are gone: its ends have to be looked up where they were among them.
    pub(crate) fn gone(&mut self, priority: Priority, first: u64, last: u64) {
        let lane = self.lane(priority);
        if lane.is_empty() {
            (lane.content, lane.timed) = (Content::default(), 0);
            (lane.oldest, lane.newest) = (None, None);
            return;
        }
        lane.oldest = lane
            .oldest
            .filter(|(oldest, _)| *oldest < first || *oldest > last);
        lane.newest = lane
            .newest
            .filter(|newest| *newest < first || *newest > last);
    }
}

/// Items that had the same fate, by priority and route.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Lots(pub(crate) Vec<Lot>);

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Lot {
    pub(crate) priority: Priority,
    pub(crate) route: Route,
    pub(crate) content: Content,
}

impl Lots {
    pub(crate) fn add(&mut self, priority: Priority, route: Route, content: Content) {
        let known = self
            .0
            .iter_mut()
            .find(|lot| lot.priority == priority && lot.route == route);
        match known {
            Some(lot) => lot.content.add(content),
            None => self.0.push(Lot {
                priority,
                route,
                content,
            }),
        }
    }

    pub(crate) fn join(&mut self, other: Self) {
        for lot in other.0 {
            self.add(lot.priority, lot.route, lot.content);
        }
    }

    pub(crate) fn items(&self) -> u64 {
        self.0.iter().map(|lot| lot.content.items).sum()
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.0.iter().map(|lot| lot.content.bytes).sum()
    }
}
