//! Event ids: `{module}/{device}/{group}/{epoch}/{sequence}` (design 3.1).

/// One stream of events: sequences in it are contiguous from 1.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct StreamKey {
    pub(crate) module: String,
    pub(crate) epoch: String,
    pub(crate) device: String,
    pub(crate) group: String,
}

/// Splits an id into its stream and its sequence.
pub(crate) fn parse(id: &str) -> Option<(StreamKey, u64)> {
    let mut parts = id.split('/');
    let (module, device, group, epoch, sequence) = (
        parts.next()?,
        parts.next()?,
        parts.next()?,
        parts.next()?,
        parts.next()?,
    );
    if parts.next().is_some() || [module, device, group, epoch].contains(&"") {
        return None;
    }
    let sequence = sequence.parse().ok().filter(|sequence| *sequence > 0)?;
    Some((
        StreamKey {
            module: module.to_owned(),
            epoch: epoch.to_owned(),
            device: device.to_owned(),
            group: group.to_owned(),
        },
        sequence,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_have_five_parts() {
        let (key, sequence) = parse("modbus-reader/press-1/100ms/e1/42").unwrap();
        assert_eq!(
            (key.device.as_str(), key.epoch.as_str(), sequence),
            ("press-1", "e1", 42)
        );
        for bad in [
            "",
            "a/b/c/d",
            "a/b/c/d/e",
            "a/b/c/d/0",
            "a/b/c/d/1/2",
            "a//c/d/1",
        ] {
            assert!(parse(bad).is_none(), "{bad}");
        }
    }
}
