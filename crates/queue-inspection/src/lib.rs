//! What a person sees of the outbound queue and takes out of it: of a file, or of the module that has it open.
//!
//! The same questions are asked of a [`Queue`](store_forward::Queue) in the own process ([`Status`], [`Walk`], [`Plan`], [`purge`]) and of
//! the process that has the queue open, by [`Asker`]. That one listens at `PATH.socket` beside the queue's file ([`Listener`]): a socket
//! of the file system, so nothing of it is on any network, and who may ask is who may read and write the file anyway. Root on a node
//! reaches it in the folder of the pod's volume.
//!
//! A connection takes one request and gives answers, one JSON object a line each, the last of which is not an item:
//!
//! ```text
//! {"version":1,"command":{"items":{"selection":{"priority":9},"events":false}}}
//! {"item":{"number":17,"stored":"2026-03-01T06:00:00.000000Z","priority":9,"route":"alarms","key":"press-1","id":"…","bytes":310}}
//! {"end":{"items":1,"damaged":0,"not_json":0}}
//! ```

mod ask;
mod item;
mod listen;
mod plan;
mod protocol;
mod selection;
mod socket;
mod status;
mod walk;

pub use ask::{AskError, Asker};
pub use item::{Item, NotJson};
pub use listen::{Listener, Settings};
pub use plan::{Plan, Purged, purge};
pub use protocol::{Answer, Command, End, Request, VERSION};
pub use selection::{Selection, SelectionError};
pub use socket::socket_of;
pub use status::{Dropped, OfPriority, OfRoute, SinceOpened, Status};
pub use walk::Walk;
