//! The short form of `scripts/soak queue-power-cuts`.

use std::path::PathBuf;

use faulty_disk::queue::{Cuts, Synchronous, run};

fn cuts(count: u64, seed: u64, synchronous: Synchronous) -> Cuts {
    Cuts {
        count,
        seed,
        synchronous,
        program: PathBuf::from(env!("CARGO_BIN_EXE_faulty-disk")),
        keep: None,
    }
}

#[test]
fn nothing_acknowledged_is_lost_when_the_power_fails() {
    let summary = run(&cuts(12, 6, Synchronous::Full), |line| eprintln!("{line}")).unwrap();
    assert!(summary.is_sound(), "{summary:?}");
    assert!(
        summary.acknowledged > 100 && summary.removed > 0,
        "{summary:?}"
    );
}

/// The check above is worth something: the same run on a queue that does not sync finds losses.
#[test]
fn a_queue_that_does_not_sync_is_found_out() {
    let summary = run(&cuts(12, 6, Synchronous::Off), |_| ()).unwrap();
    assert!(summary.verdict.missing > 0, "{summary:?}");
}
