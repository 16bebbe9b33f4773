//! The caller's queue in its smallest form: what is not acknowledged when a connection ends is sent again, in order, on the next.

use super::{Recorded, numbered, recorded};
use crate::support::{Bench, PATIENCE};
use iothub_client::{Client, SendError};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

/// What happened on one connection.
#[derive(Debug)]
pub(super) struct Turn {
    pub(super) generation: u64,
    /// The first number that was sent.
    pub(super) first: usize,
    /// Messages the session took.
    pub(super) taken: usize,
    /// PUBACKs without a gap.
    pub(super) acknowledged: usize,
}

/// Sends the numbers `first..end` until all are acknowledged. `progress` is the number of the first message that is not.
pub(super) async fn send_all(
    client: &Client,
    first: usize,
    end: usize,
    progress: &watch::Sender<usize>,
) -> Vec<Turn> {
    progress.send_replace(first);
    let mut turns: Vec<Turn> = Vec::new();
    let mut first = first;
    while first < end {
        let session = timeout(PATIENCE, client.session())
            .await
            .expect("a connection")
            .unwrap();
        let (deliveries, mut waiting) = mpsc::channel(1024);
        let send = async {
            for number in first..end {
                match session.publish(numbered(number, &session)).await {
                    Ok(delivery) => deliveries.send(delivery).await.unwrap(),
                    Err(SendError::ConnectionLost) => break,
                    Err(error) => panic!("{error}"),
                }
            }
            drop(deliveries);
        };
        let confirm = async {
            let (mut taken, mut acknowledged, mut broken) = (0, 0, false);
            while let Some(delivery) = timeout(PATIENCE, waiting.recv()).await.expect("progress") {
                taken += 1;
                match timeout(PATIENCE, delivery)
                    .await
                    .expect("every delivery resolves")
                {
                    Ok(()) if !broken => {
                        acknowledged += 1;
                        progress.send_replace(first + acknowledged);
                    }
                    // After a gap it is sent again with all that follow the gap, or the order would be lost.
                    Ok(()) => {}
                    Err(SendError::ConnectionLost) => broken = true,
                    Err(error) => panic!("{error}"),
                }
            }
            (taken, acknowledged)
        };
        // Both borrow, so they run in one task.
        let ((), (taken, acknowledged)) = tokio::join!(send, confirm);
        turns.push(Turn {
            generation: session.generation(),
            first,
            taken,
            acknowledged,
        });
        first += acknowledged;
    }
    turns
}

/// Compares what the hub has with what the turns say: on each connection consecutive numbers from the first that was not acknowledged, at
/// least as many as were acknowledged; connections one after another; hence every number at least once.
pub(super) async fn check(bench: &Bench, turns: &[Turn]) {
    let recorded = recorded(bench).await;
    let mut rest = &recorded[..];
    let mut next = turns[0].first;
    for turn in turns {
        let count = rest
            .iter()
            .take_while(|message| message.generation == turn.generation)
            .count();
        let (mine, others) = rest.split_at(count);
        rest = others;
        assert_eq!(
            turn.first, next,
            "a turn starts with what is not acknowledged: {turns:?}"
        );
        next += turn.acknowledged;
        let expected = (turn.first..turn.first + count).map(|number| Recorded {
            generation: turn.generation,
            number,
        });
        assert!(
            mine.iter().cloned().eq(expected),
            "out of order in {turn:?}: {mine:?}"
        );
        assert!(
            (turn.acknowledged..=turn.taken).contains(&count),
            "{count} messages came in {turn:?}"
        );
    }
    assert!(rest.is_empty(), "of no turn: {rest:?}");
}
