//! Groups what must be read into the fewest requests, and among these the ones that read least.
//!
//! A request costs a round trip, a register only two bytes: so fewer requests always win, and gaps between tags are
//! read along, but only up to the bound the device allows and only where that saves a request.

/// What one tag needs of a table: `width` addresses (bits or registers) from `address`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// First address.
    pub address: u16,
    /// How many addresses, at least 1.
    pub width: u16,
}

impl Span {
    /// One past the last address, at most 65536.
    fn end(self) -> u32 {
        u32::from(self.address) + u32::from(self.width)
    }
}

/// What the device allows, in addresses of the table.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// The most addresses in one request.
    pub max_width: u16,
    /// The longest run of addresses nobody needs that may be read along.
    pub max_gap: u16,
}

/// One request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// First address.
    pub address: u16,
    /// How many addresses.
    pub width: u16,
    /// Which spans it covers, as positions in the list given.
    pub members: Vec<usize>,
}

/// Covers every span by exactly one block, whole. A span wider than `max_width` (the configuration's checks refuse it)
/// has a block of its own.
///
/// Time grows with the number of spans times how many fit into one request.
pub fn plan(spans: &[Span], limits: Limits) -> Vec<Block> {
    let mut order: Vec<usize> = (0..spans.len()).collect();
    order.sort_by_key(|&index| (spans[index].address, spans[index].width));

    // best[n]: cheapest cover of the first n spans as (requests, addresses read), and where its last block starts.
    let mut best = vec![(u32::MAX, u32::MAX, 0); order.len() + 1];
    best[0] = (0, 0, 0);
    for first in 0..order.len() {
        let (requests, read, _) = best[first];
        let start = u32::from(spans[order[first]].address);
        let mut end = start;
        for last in first..order.len() {
            let span = spans[order[last]];
            let beyond = last > first;
            if beyond && u32::from(span.address) > end + u32::from(limits.max_gap) {
                break;
            }
            end = end.max(span.end());
            let width = end - start;
            if beyond && width > u32::from(limits.max_width) {
                break;
            }
            // Of equal plans the one with the fuller requests first.
            let known = &mut best[last + 1];
            if (requests + 1, read + width) <= (known.0, known.1) {
                *known = (requests + 1, read + width, first);
            }
        }
    }

    let mut blocks = Vec::new();
    let mut end = order.len();
    while end > 0 {
        let first = best[end].2;
        let members: Vec<usize> = order[first..end].to_vec();
        let address = spans[members[0]].address;
        let last = members.iter().map(|&member| spans[member].end()).max();
        let width = last.unwrap_or_default() - u32::from(address);
        blocks.push(Block {
            address,
            width: u16::try_from(width).unwrap_or(u16::MAX),
            members,
        });
        end = first;
    }
    blocks.reverse();
    blocks
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LIMITS: Limits = Limits {
        max_width: 125,
        max_gap: 8,
    };

    fn span(address: u16, width: u16) -> Span {
        Span { address, width }
    }

    fn shape(spans: &[Span], limits: Limits) -> Vec<(u16, u16)> {
        plan(spans, limits)
            .iter()
            .map(|block| (block.address, block.width))
            .collect()
    }

    #[test]
    fn five_hundred_registers_are_four_requests() {
        let spans: Vec<Span> = (0..500).rev().map(|address| span(address, 1)).collect();
        let blocks = shape(&spans, LIMITS);
        assert_eq!(blocks, [(0, 125), (125, 125), (250, 125), (375, 125)]);
    }

    /// The case of telegraf#12222: small holes made 200 requests of what can be 4.
    #[test]
    fn small_gaps_are_filled_and_large_ones_are_not() {
        assert_eq!(shape(&[span(0, 2), span(10, 1)], LIMITS), [(0, 11)]);
        assert_eq!(shape(&[span(0, 2), span(11, 1)], LIMITS), [(0, 2), (11, 1)]);
        let holes: Vec<Span> = (0..100).map(|index| span(index * 5, 2)).collect();
        assert_eq!(plan(&holes, LIMITS).len(), 4);
    }

    #[test]
    fn a_gap_is_not_filled_where_a_new_request_starts_anyway() {
        let spans = [span(0, 120), span(124, 1), span(125, 15)];
        assert_eq!(shape(&spans, LIMITS), [(0, 120), (124, 16)]);
    }

    #[test]
    fn a_tag_is_never_cut() {
        let spans: Vec<Span> = (0..40).map(|index| span(index * 4, 4)).collect();
        assert_eq!(shape(&spans, LIMITS), [(0, 124), (124, 36)]);
        let narrow = Limits {
            max_width: 3,
            max_gap: 8,
        };
        assert_eq!(shape(&[span(7, 4)], narrow), [(7, 4)]);
    }

    #[test]
    fn overlapping_tags_share_a_request_up_to_the_last_address() {
        let spans = [span(10, 50), span(20, 1), span(20, 4), span(65535, 1)];
        assert_eq!(shape(&spans, LIMITS), [(10, 50), (65535, 1)]);
        assert!(plan(&[], LIMITS).is_empty());
    }

    fn spans() -> impl Strategy<Value = Vec<Span>> {
        // Dense, so that gaps, overlap and limits all happen.
        let one = (
            0u16..600,
            prop_oneof![Just(1u16), Just(2), Just(4), 1u16..20],
        );
        proptest::collection::vec(
            one.prop_map(|(address, width)| span(address, width)),
            0..120,
        )
    }

    fn limits() -> impl Strategy<Value = Limits> {
        (20u16..=125, 0u16..=30).prop_map(|(max_width, max_gap)| Limits { max_width, max_gap })
    }

    /// Requests of the planner that everybody writes first: neighbours are joined as long as they fit.
    fn naive(spans: &[Span], limits: Limits, max_gap: u16) -> usize {
        let mut sorted = spans.to_vec();
        sorted.sort_by_key(|span| (span.address, span.width));
        let mut count = 0;
        let mut current: Option<(u32, u32)> = None;
        for span in sorted {
            let joined = current.filter(|(start, end)| {
                u32::from(span.address) <= end + u32::from(max_gap)
                    && span.end().max(*end) - start <= u32::from(limits.max_width)
            });
            current = match joined {
                Some((start, end)) => Some((start, end.max(span.end()))),
                None => {
                    count += 1;
                    Some((u32::from(span.address), span.end()))
                }
            };
        }
        count
    }

    proptest! {
        #[test]
        fn every_tag_is_covered_once_within_the_limits(spans in spans(), limits in limits()) {
            let blocks = plan(&spans, limits);
            let mut covered = vec![0; spans.len()];
            for block in &blocks {
                prop_assert!(block.width <= limits.max_width);
                prop_assert!(!block.members.is_empty());
                for &member in &block.members {
                    covered[member] += 1;
                    let span = spans[member];
                    prop_assert!(span.address >= block.address);
                    prop_assert!(span.end() <= u32::from(block.address) + u32::from(block.width));
                }
            }
            prop_assert!(covered.iter().all(|&times| times == 1));
        }

        #[test]
        fn there_is_no_shorter_simple_plan(spans in spans(), limits in limits()) {
            let blocks = plan(&spans, limits).len();
            prop_assert!(blocks <= naive(&spans, limits, limits.max_gap));
            prop_assert!(blocks <= naive(&spans, limits, 0));
            prop_assert!(blocks <= spans.len());
        }

        #[test]
        fn what_nobody_needs_is_read_only_to_save_a_request(spans in spans(), limits in limits()) {
            let blocks = plan(&spans, limits);
            let without_gaps = plan(&spans, Limits { max_gap: 0, ..limits });
            let mut unneeded = 0;
            for block in &blocks {
                let mut run = 0;
                for address in u32::from(block.address)..u32::from(block.address) + u32::from(block.width) {
                    let needed = block.members.iter().any(|&member| {
                        let span = spans[member];
                        (u32::from(span.address)..span.end()).contains(&address)
                    });
                    run = if needed { 0 } else { run + 1 };
                    unneeded += u32::from(!needed);
                    prop_assert!(run <= limits.max_gap, "a gap longer than allowed");
                }
            }
            // Every filled gap joins two blocks of the plan without gaps, or parts of them.
            let joins = blocks.iter().map(|block| block.members.len() - 1).sum::<usize>() as u32;
            prop_assert!(unneeded <= joins * u32::from(limits.max_gap));
            if blocks.len() == without_gaps.len() {
                let read: u32 = blocks.iter().map(|block| u32::from(block.width)).sum();
                let least: u32 = without_gaps.iter().map(|block| u32::from(block.width)).sum();
                prop_assert!(read <= least, "gaps were filled that saved nothing");
            }
        }
    }
}
