//! The decisions of sending: how much at a time, what next, by whom, and when not. No I/O, no clock: time is passed in.
//!
//! | part | decides |
//! |---|---|
//! | [`Window`] | how many messages wait for their PUBACK at a time |
//! | [`Watchdog`] | when a missing PUBACK means a dead link |
//! | [`Throttle`] | whether the hub throttles or the day's quota is used up, and what then |
//! | [`Budget`] | whether the line's bytes per minute and month allow it |
//! | [`Schedule`] | which priority is next, and whether live data or the backlog |
//! | [`Shards`] | by which identity an event goes |
//!
//! Together, for each identity: while [`Window::has_room`] and [`Throttle::pace`] lets it, what waits of the keys that [`Shards::owner`] gives to
//! this identity is the [`Waiting`] of [`Schedule::next`]; what that names becomes a message, alone or with others, and the message is sent when
//! [`Budget::admit`] lets it go. Each PUBACK goes to the window, the watchdog and the throttle; each lost connection to the window and the
//! throttle.

pub mod budget;
pub mod latency;
pub mod loss;
pub mod priority;
pub mod schedule;
pub mod shards;
pub mod throttle;
pub mod watchdog;
pub mod window;

pub use budget::{Admission, Bound, Budget, BudgetEvent, BudgetOptions, BudgetState};
pub use latency::Latency;
pub use loss::Loss;
pub use priority::{Priorities, Priority};
pub use schedule::{Class, Lane, Next, Schedule, ScheduleOptions, Waiting};
pub use shards::Shards;
pub use throttle::{Now, Pace, Throttle, ThrottleEvent, ThrottleState};
pub use watchdog::{Oldest, Verdict, Watchdog, WatchdogBounds};
pub use window::{Sent, Window, WindowBounds};
