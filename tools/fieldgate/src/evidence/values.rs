//! Is a value what the simulated device held when it was read?

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use field_simulator::{Device, Plan, Point, expected, matches};
use measurement::Measurements;

use crate::system::Plant;

/// Values of one event.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct ValueCount {
    pub(crate) checked: u64,
    pub(crate) bad_quality: u64,
    /// What is wrong, a line each.
    pub(crate) wrong: Vec<String>,
}

/// Knows what every device should have said.
#[derive(Debug)]
pub(crate) struct ValueCheck {
    plan: Plan,
    /// How long before its event's time a value may have been read.
    window: Duration,
    /// Device → tag → where the point is in the plan.
    points: HashMap<String, HashMap<String, (usize, usize)>>,
    /// (device, group) → every tag that must be present.
    tags: BTreeMap<(String, String), BTreeSet<String>>,
}

impl ValueCheck {
    /// `age`: how long a poll may take, the request's time-out; one step is added, because a device may be between
    /// taking its values and answering.
    pub(crate) fn new(plan: Plan, plant: &Plant, age: Duration) -> Self {
        let points = plan
            .devices
            .iter()
            .enumerate()
            .map(|(device_index, device)| {
                let points = device
                    .points
                    .iter()
                    .enumerate()
                    .map(|(point_index, point)| (point.name.clone(), (device_index, point_index)))
                    .collect();
                (device.name.clone(), points)
            })
            .collect();
        let mut tags = BTreeMap::new();
        for group in &plant.groups {
            for device in &group.devices {
                tags.insert(
                    (device.clone(), group.name.clone()),
                    group.tags.iter().map(|tag| tag.name.clone()).collect(),
                );
            }
        }
        let window = age + plan.step;
        Self {
            plan,
            window,
            points,
            tags,
        }
    }

    /// Checks every value of an event of `at`, and that no tag is absent.
    pub(crate) fn check(&self, event: &Measurements, at: SystemTime) -> ValueCount {
        let mut count = ValueCount::default();
        let newest = self.plan.step_at(at);
        let oldest = self
            .plan
            .step_at(at.checked_sub(self.window).unwrap_or(UNIX_EPOCH));
        let key = (event.device.clone(), event.group.clone());
        let Some(tags) = self.tags.get(&key) else {
            count
                .wrong
                .push(format!("there is no group {}/{}", key.0, key.1));
            return count;
        };
        for tag in tags {
            if event.bad.contains_key(tag) {
                count.bad_quality += 1;
            } else if !event.values.contains_key(tag) {
                count
                    .wrong
                    .push(format!("{}/{}: {tag} is absent", key.0, key.1));
            }
        }
        for (tag, value) in &event.values {
            let known = tags
                .contains(tag)
                .then(|| self.point(&event.device, tag))
                .flatten();
            let Some((device, point)) = known else {
                count
                    .wrong
                    .push(format!("{}/{}: there is no tag {tag}", key.0, key.1));
                continue;
            };
            if point.writable {
                // Holds what was last written, not what follows from the time.
                continue;
            }
            count.checked += 1;
            let right = (oldest..=newest)
                .rev()
                .any(|step| matches(value, &expected(device, point, step)));
            if !right {
                count.wrong.push(format!(
                    "{}/{}: {tag} = {value} at {}, expected {}",
                    key.0,
                    key.1,
                    event.timestamp,
                    expected(device, point, newest).to_json()
                ));
            }
        }
        count
    }

    fn point(&self, device: &str, tag: &str) -> Option<(&Device, &Point)> {
        let (device, point) = *self.points.get(device)?.get(tag)?;
        let device = self.plan.devices.get(device)?;
        Some((device, device.points.get(point)?))
    }
}
