//! Chunk sizes of the block chunker, checked once so that the rest needs no checks.

use thiserror::Error;

use crate::BLOCK_LEN;

/// Blocks of the longest chunk: 4 MiB.
pub const MAX_BLOCKS: u32 = 1024;

/// A segment is this many times `avg` blocks.
pub const SEGMENT_FACTOR: u32 = 128;

/// Minimum, average and maximum chunk length of a volume in blocks; part of a volume's identity, since other
/// parameters give other cuts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BlockParams {
    min: u32,
    avg: u32,
    max: u32,
}

/// Why a triple is no [`BlockParams`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ParamsError {
    /// The three are not in order, or `min` is zero.
    #[error("chunk sizes {min}/{avg}/{max} blocks: expected 1 <= min <= avg <= max")]
    Order {
        /// The minimum found, in blocks.
        min: u32,
        /// The average found, in blocks.
        avg: u32,
        /// The maximum found, in blocks.
        max: u32,
    },
    /// Chunks would exceed 4 MiB.
    #[error("chunk maximum of {max} blocks: expected at most {MAX_BLOCKS}")]
    Max {
        /// The maximum found, in blocks.
        max: u32,
    },
    /// An average of one block leaves no choice of cut and fills maps with entries.
    #[error("chunk average of {avg} blocks: expected at least 2")]
    Avg {
        /// The average found, in blocks.
        avg: u32,
    },
    /// The minimum is so far below the average that short holes would crowd the map.
    #[error("chunk average of {avg} blocks with minimum {min}: expected at most 16 times the minimum")]
    Spread {
        /// The minimum found, in blocks.
        min: u32,
        /// The average found, in blocks.
        avg: u32,
    },
}

impl BlockParams {
    /// Accepts 1 <= min <= avg <= max <= 1024 with 2 <= avg <= 16 min, all in blocks.
    pub fn new(min: u32, avg: u32, max: u32) -> Result<Self, ParamsError> {
        if min == 0 || min > avg || avg > max {
            return Err(ParamsError::Order { min, avg, max });
        }
        if max > MAX_BLOCKS {
            return Err(ParamsError::Max { max });
        }
        if avg < 2 {
            return Err(ParamsError::Avg { avg });
        }
        // No overflow: min <= MAX_BLOCKS.
        if avg > 16 * min {
            return Err(ParamsError::Spread { min, avg });
        }
        Ok(Self { min, avg, max })
    }

    /// Chunks of `blocks` blocks each, cut by position alone; 2 to 1024.
    pub fn fixed(blocks: u32) -> Result<Self, ParamsError> {
        Self::new(blocks, blocks, blocks)
    }

    /// Blocks before the first possible cut, and of the shortest hole inside a segment.
    pub fn min(self) -> u32 {
        self.min
    }

    /// One block in `avg` is a place to cut; also the scale of a segment.
    pub fn avg(self) -> u32 {
        self.avg
    }

    /// Blocks after which a chunk always ends.
    pub fn max(self) -> u32 {
        self.max
    }

    /// Whether position alone decides the cuts (min = avg = max).
    pub fn is_fixed(self) -> bool {
        self.min == self.max
    }

    /// Bytes of a segment: 128 x avg blocks, 1 MiB to 512 MiB. Each but a volume's last has this length.
    pub fn segment_len(self) -> u64 {
        u64::from(SEGMENT_FACTOR) * u64::from(self.avg) * BLOCK_LEN as u64
    }

    /// How many segments a volume of `volume_len` bytes has; none if it is empty.
    pub fn segment_count(self, volume_len: u64) -> u64 {
        volume_len.div_ceil(self.segment_len())
    }

    /// A block hash below this ends its chunk: floor(2^64 / avg), compared with its first 8 bytes.
    pub(super) fn threshold(self) -> u64 {
        // floor((2^64 - 1) / avg) differs from it exactly where avg divides 2^64, by one.
        u64::MAX / u64::from(self.avg) + u64::from(self.avg.is_power_of_two())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_those_of_the_format() {
        for (min, avg, max) in [(1, 2, 2), (1, 16, 1024), (2, 8, 32), (64, 1024, 1024)] {
            let params = BlockParams::new(min, avg, max).unwrap();
            assert_eq!((params.min(), params.avg(), params.max()), (min, avg, max));
        }
        let refused = [
            (0, 2, 4, ParamsError::Order { min: 0, avg: 2, max: 4 }),
            (3, 2, 4, ParamsError::Order { min: 3, avg: 2, max: 4 }),
            (2, 5, 4, ParamsError::Order { min: 2, avg: 5, max: 4 }),
            (1, 1, 4, ParamsError::Avg { avg: 1 }),
            (1, 17, 32, ParamsError::Spread { min: 1, avg: 17 }),
            (64, 64, 1025, ParamsError::Max { max: 1025 }),
            (u32::MAX, u32::MAX, u32::MAX, ParamsError::Max { max: u32::MAX }),
        ];
        for (min, avg, max, error) in refused {
            assert_eq!(BlockParams::new(min, avg, max), Err(error));
        }
    }

    #[test]
    fn threshold_is_the_floor_of_two_to_the_64_over_avg() {
        for avg in 2..=MAX_BLOCKS {
            let expected = (1_u128 << 64) / u128::from(avg);
            assert_eq!(u128::from(BlockParams { min: avg, avg, max: avg }.threshold()), expected);
        }
    }

    #[test]
    fn segments_cover_the_volume() {
        let params = BlockParams::new(2, 8, 32).unwrap();
        assert_eq!(params.segment_len(), 4 << 20);
        for (volume_len, count) in [(0, 0), (1, 1), (4 << 20, 1), ((4 << 20) + 1, 2)] {
            assert_eq!(params.segment_count(volume_len), count);
        }
        assert_eq!(params.segment_count(u64::MAX), 1 << 42);
    }
}
