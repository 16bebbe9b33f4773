//! Sizes as people read them.

const GIB: u64 = 1 << 30;
const MIB: u64 = 1 << 20;

/// `14.9 GiB`, `256.0 MiB`, `512 bytes`.
pub(crate) fn size(bytes: u64) -> String {
    // Tenths, in whole numbers: no rounding through floats.
    let tenths = |unit: u64| {
        let tenths = u128::from(bytes) * 10 / u128::from(unit);
        format!("{}.{}", tenths / 10, tenths % 10)
    };
    if bytes >= GIB {
        format!("{} GiB", tenths(GIB))
    } else if bytes >= MIB {
        format!("{} MiB", tenths(MIB))
    } else {
        format!("{bytes} bytes")
    }
}

#[cfg(test)]
mod tests {
    use super::size;

    #[test]
    fn a_size_has_a_unit() {
        assert_eq!(size(16_013_942_784), "14.9 GiB");
        assert_eq!(size(256 << 20), "256.0 MiB");
        assert_eq!(size(512), "512 bytes");
    }
}
