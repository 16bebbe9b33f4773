//! Whether a serial line can carry what is asked of it: a line that is overbooked never keeps a period.

use module_runtime::{Problems, path};

use crate::line_timing::LineTiming;
use crate::requests::{self, Request};

use super::Configuration;

/// Every serial link whose requests need more time than there is, without any device's own answer time.
pub(super) fn check(configuration: &Configuration, problems: &mut Problems) {
    for (index, link) in configuration.links.iter().enumerate() {
        let Some(serial) = &link.serial else { continue };
        let timing = LineTiming::new(serial, link.request_gap);
        let mut load = 0.0;
        for device in configuration
            .devices
            .iter()
            .filter(|device| device.link == link.name)
        {
            for group in configuration.groups_of(&device.name) {
                let cycle: f64 = requests::plan(device, &group.tags)
                    .iter()
                    .map(|request| seconds(&timing, request))
                    .sum();
                load += cycle / group.period.get().as_secs_f64();
            }
        }
        if load > 1.0 {
            problems.add(
                path!["links", index],
                format!(
                    "the requests on this line need {:.0} % of its time at {} baud; lengthen periods, read fewer tags or raise baud_rate",
                    load * 100.0,
                    serial.baud_rate
                ),
            );
        }
    }
}

fn seconds(timing: &LineTiming, request: &Request) -> f64 {
    (timing.transfer(request.table, request.count) + timing.gap()).as_secs_f64()
}
