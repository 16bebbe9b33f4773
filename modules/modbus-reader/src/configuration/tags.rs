//! Checks of tags: type against table, addresses, overlap, and the size of a group's event.

use std::collections::{BTreeMap, BTreeSet};

use measurement::{NAME_RULE, valid_name};
use module_runtime::configuration::Path;
use module_runtime::{Problems, path};

use super::{Configuration, Device, Group, Order, Overlap, Table, Tag, TagType};

/// The largest body IoT Hub takes is 256 KB with its properties; some room is left for these.
const LARGEST_EVENT: usize = 250 * 1024;

pub(super) fn check(configuration: &Configuration, problems: &mut Problems) {
    for (index, group) in configuration.groups.iter().enumerate() {
        let at = path!["groups", index, "tags"];
        for (tag_index, tag) in group.tags.iter().enumerate() {
            check_tag(tag, &at.join(tag_index), problems);
        }
        check_event_size(group, &at, problems);
    }
    let mut reported = BTreeSet::new();
    for device in &configuration.devices {
        check_device(configuration, device, &mut reported, problems);
    }
}

fn check_tag(tag: &Tag, at: &Path, problems: &mut Problems) {
    if !valid_name(&tag.name) {
        let message = format!("{:?} is not a name: use {NAME_RULE}", tag.name);
        problems.add(at.join("name"), message);
    }
    let table = tag.table.as_str();
    let kind = tag.resolved_type();
    match (tag.table.is_bits(), kind) {
        (_, None) => problems.add(
            at,
            format!("a tag in the table {table} needs a type, such as type: u16"),
        ),
        (true, Some(TagType::Bool)) | (false, Some(_)) => {}
        (true, Some(_)) => problems.add(
            at.join("type"),
            format!("the table {table} holds bits: its type is bool; numbers are in holding-register or input-register"),
        ),
    }
    check_bit(tag, kind, at, problems);
    check_string(tag, kind, at, problems);
    for (field, value) in [("scale", tag.scale), ("offset", tag.offset)] {
        let Some(value) = value else { continue };
        if matches!(kind, Some(TagType::Bool | TagType::String)) {
            let message = "goes with numbers only; remove it or change the type";
            problems.add(at.join(field), message);
        } else if field == "scale" && value == 0.0 {
            problems.add(
                at.join(field),
                "0 makes every value the offset; 1 changes nothing",
            );
        } else if !value.is_finite() {
            problems.add(at.join(field), "must be a finite number");
        }
    }
    if tag.writable && !matches!(tag.table, Table::Coil | Table::HoldingRegister) {
        let message =
            format!("the table {table} cannot be written; only coil and holding-register can");
        problems.add(at.join("writable"), message);
    } else if tag.writable && tag.bit.is_some() {
        let message = "one bit of a register cannot be written alone; make the whole register a writable tag (overlap: allow)";
        problems.add(at.join("writable"), message);
    }
    let end = u32::from(tag.address) + u32::from(tag.width());
    if end > 0x1_0000 {
        problems.add(
            at.join("address"),
            format!(
                "{} + {} addresses reach past 65535; the last possible address is {}",
                tag.address,
                tag.width(),
                0x1_0000 - u32::from(tag.width())
            ),
        );
    }
}

fn check_bit(tag: &Tag, kind: Option<TagType>, at: &Path, problems: &mut Problems) {
    let is_bool = kind == Some(TagType::Bool);
    match tag.bit {
        None if is_bool && !tag.table.is_bits() => {
            problems.add(
                at,
                "a bool in a register needs its bit, 0 (least significant) to 15",
            );
        }
        Some(_) if tag.table.is_bits() => {
            let message =
                "goes with registers only: a coil or discrete input is one bit; remove it";
            problems.add(at.join("bit"), message);
        }
        Some(_) if !is_bool => {
            let message = "goes with type bool only; remove it or set type: bool";
            problems.add(at.join("bit"), message);
        }
        Some(bit) if bit > 15 => {
            let message = format!("{bit} is out of range; a register has bits 0 to 15");
            problems.add(at.join("bit"), message);
        }
        _ => {}
    }
}

fn check_string(tag: &Tag, kind: Option<TagType>, at: &Path, problems: &mut Problems) {
    let is_string = kind == Some(TagType::String);
    // MODBUS Application Protocol V1.1b3: 6.3 reads up to 125 registers, 6.12 writes up to 123.
    let longest = if tag.writable { 246 } else { 250 };
    match tag.length {
        None if is_string => {
            problems.add(at, "a string needs its length in bytes, such as length: 16")
        }
        Some(length) if is_string => {
            problems.check_range(at.join("length"), &length, 1..=longest);
        }
        Some(_) => {
            let message = "goes with type string only; the other types have a fixed length";
            problems.add(at.join("length"), message);
        }
        None => {}
    }
    if is_string && matches!(tag.order, Order::WordSwapped | Order::LittleEndian) {
        let message = "the order of a string is big-endian or byte-swapped";
        problems.add(at.join("order"), message);
    }
}

fn check_event_size(group: &Group, at: &Path, problems: &mut Problems) {
    let largest: usize = group
        .tags
        .iter()
        .map(|tag| {
            let value = match tag.resolved_type() {
                Some(TagType::String) => 2 * usize::from(tag.length.unwrap_or(0)) + 2,
                Some(TagType::Bool) => 5,
                // The longest f64 and i64; a reason for a bad value is not longer.
                _ => 26,
            };
            tag.name.len() + value + 4
        })
        .sum();
    if largest > LARGEST_EVENT {
        problems.add(
            at,
            format!(
                "{} tags may make an event of {} KiB, IoT Hub takes 256; split the group",
                group.tags.len(),
                largest / 1024
            ),
        );
    }
}

/// Where a tag was written: its group and its position there.
type Place = (usize, usize);
type Placed<'a> = (&'a Tag, Place);

fn tag_path((group, tag): Place) -> Path {
    path!["groups", group, "tags", tag]
}

/// What depends on all tags of a device: names, overlap, and the device's own limits.
/// `reported` keeps a problem of a group that several devices share from being told for each.
fn check_device<'a>(
    configuration: &'a Configuration,
    device: &Device,
    reported: &mut BTreeSet<(Place, Place)>,
    problems: &mut Problems,
) {
    let mut names: BTreeMap<&str, Place> = BTreeMap::new();
    let mut tables: BTreeMap<Table, Vec<Placed<'a>>> = BTreeMap::new();
    for (group_index, group) in configuration.groups.iter().enumerate() {
        if !group.devices.contains(&device.name) {
            continue;
        }
        for (tag_index, tag) in group.tags.iter().enumerate() {
            let place = (group_index, tag_index);
            if let Some(first) = names.insert(&tag.name, place)
                && reported.insert((first, place))
            {
                let line = problems.location(tag_path(first).join("name"));
                problems.add(
                    tag_path(place).join("name"),
                    format!("device {:?} already has a tag {:?}, at {line}; commands need one tag per name: rename one", device.name, tag.name),
                );
            }
            let limit = if tag.table.is_bits() {
                device.max_bits
            } else {
                device.max_registers
            };
            // A string that is too long for any request is told at its length.
            let possible = tag.width() <= 125;
            if possible && tag.width() > limit && reported.insert((place, place)) {
                problems.add(
                    tag_path(place),
                    format!(
                        "takes {} registers, but device {:?} answers at most {limit} in a request (max_registers), and a value is never read in two parts",
                        tag.width(),
                        device.name
                    ),
                );
            }
            tables.entry(tag.table).or_default().push((tag, place));
        }
    }
    for tags in tables.values_mut() {
        tags.sort_by_key(|(tag, place)| (tag.address, tag.width(), *place));
        check_overlap(device, tags, reported, problems);
    }
}

fn check_overlap(
    device: &Device,
    tags: &[Placed<'_>],
    reported: &mut BTreeSet<(Place, Place)>,
    problems: &mut Problems,
) {
    for (index, (tag, place)) in tags.iter().enumerate() {
        let end = u32::from(tag.address) + u32::from(tag.width());
        for (other, other_place) in &tags[index + 1..] {
            if u32::from(other.address) >= end {
                break;
            }
            let bits_apart = tag.bit.is_some() && other.bit.is_some() && tag.bit != other.bit;
            let allowed = tag.overlap == Overlap::Allow || other.overlap == Overlap::Allow;
            let (earlier, later) = (*place.min(other_place), *place.max(other_place));
            if bits_apart || allowed || !reported.insert((earlier, later)) {
                continue;
            }
            let line = problems.location(tag_path(earlier));
            let [first, second] = if earlier == *place {
                [tag, other]
            } else {
                [other, tag]
            };
            problems.add(
                tag_path(later).join("address"),
                format!(
                    "{} {} of device {:?} is also in tag {:?}, at {line}; correct the address of {:?}, or say overlap: allow",
                    other.table.as_str(),
                    other.address,
                    device.name,
                    first.name,
                    second.name,
                ),
            );
        }
    }
}
