//! Why a broker could not be made like its plan.

use std::path::PathBuf;
use std::time::Duration;

use crate::plan_problem::PlanError;

/// Why a broker could not be made like its plan.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The plan itself is wrong.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// No answer in time: the broker is not there, or still starting. It may answer later.
    #[error("{what}: JetStream did not answer within {} s ({reason}); is the broker running with JetStream, and may this user use it?", .within.as_secs())]
    NoAnswer {
        /// What was asked.
        what: String,
        /// The deadline.
        within: Duration,
        /// The last failure.
        reason: String,
    },
    /// The broker refused.
    #[error("{what}: the broker refused: {reason}{}", remedy(*.code))]
    Refused {
        /// What was asked.
        what: String,
        /// In the broker's words.
        reason: String,
        /// Its error code (err_code of the JetStream API).
        code: u64,
    },
    /// The answer was not understood.
    #[error("{what}: the broker's answer cannot be read: {reason}; does its version fit?")]
    Answer {
        /// What was asked.
        what: String,
        /// Why not.
        reason: String,
    },
    /// Something exists with a setting that the broker cannot change.
    #[error(
        "{what} has {field} {found}, the plan wants {planned}; it cannot be changed in place. Save what it holds, delete it, and it \
         is created anew"
    )]
    Immutable {
        /// The stream or consumer.
        what: String,
        /// The setting.
        field: &'static str,
        /// As it is.
        found: String,
        /// As the plan has it.
        planned: String,
    },
    /// A stream is not there, and somebody else makes it.
    #[error("{what} is not there yet; the set-up of the first server makes it")]
    Awaited {
        /// The stream.
        what: String,
    },
    /// A saved stream cannot be read or written.
    #[error("{}: {reason}", .path.display())]
    File {
        /// The file or folder.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// A consumer that the plan has is not taken out.
    #[error("{what} is in the plan; take it out of the plan first")]
    Planned {
        /// The consumer.
        what: String,
    },
}

fn remedy(code: u64) -> &'static str {
    match code {
        // STREAM_SUBJECT_OVERLAP
        10065 => {
            "; another stream, which is not in the plan, carries one of the topics: delete it or take the topic out of it"
        }
        // STORAGE_RESOURCES_EXCEEDED, INSUFFICIENT_RESOURCES, ACCOUNT_RESOURCES_EXCEEDED
        10047 | 10023 | 10002 => {
            "; the streams' max_bytes together must be below the server's max_file_store: give the broker more storage or the streams less"
        }
        // CLUSTER_NO_PEERS, replicas without cluster
        10005 | 10074 => "; replicas must not exceed the number of servers that run",
        _ => "",
    }
}
