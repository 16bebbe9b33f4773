//! What processes cost, from /proc (proc(5)).

use std::fs;

use anyhow::{Context, Result};

/// Ticks a second of the times in /proc/PID/stat. The kernel reports them in USER_HZ, which is 100 on every
/// architecture that Fieldgate runs on, whatever its own timer does.
const USER_HZ: f64 = 100.0;

/// CPU time of a process so far, user and system, all threads, in seconds.
pub(crate) fn cpu_seconds(pid: i32) -> Result<f64> {
    let path = format!("/proc/{pid}/stat");
    let text = fs::read_to_string(&path).with_context(|| path.clone())?;
    parse_cpu(&text).with_context(|| format!("{path} has no times"))
}

/// The process' share of memory, in KiB: its own pages, and its part of those it shares.
pub(crate) fn pss_kib(pid: i32) -> Result<u64> {
    let path = format!("/proc/{pid}/smaps_rollup");
    let text = fs::read_to_string(&path).with_context(|| path.clone())?;
    parse_pss(&text).with_context(|| format!("{path} has no Pss"))
}

fn parse_cpu(stat: &str) -> Option<f64> {
    // The second field is the name in parentheses and may hold anything; fields 14 and 15 are utime and stime.
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some((user + system) as f64 / USER_HZ)
}

fn parse_pss(rollup: &str) -> Option<u64> {
    rollup
        .lines()
        .find_map(|line| line.strip_prefix("Pss:"))?
        .split_whitespace()
        .next()?
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_parentheses_do_not_shift_the_fields() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194304 100 0 0 0 250 50 0 0 20 0 3 0 5 0 0";
        assert_eq!(parse_cpu(stat), Some(3.0));
        assert_eq!(parse_cpu("garbage"), None);
    }

    #[test]
    fn the_share_is_not_one_of_its_parts() {
        let rollup = "00400000-7fff rollup\nRss: 9 kB\nPss: 1234 kB\nPss_Anon: 5 kB\n";
        assert_eq!(parse_pss(rollup), Some(1234));
        assert_eq!(parse_pss("Rss: 9 kB"), None);
    }

    #[test]
    fn this_process_costs_something() {
        let own = i32::try_from(std::process::id()).unwrap();
        assert!(cpu_seconds(own).is_ok());
        assert!(pss_kib(own).unwrap() > 100);
    }
}
