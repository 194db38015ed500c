//! Helpers of the whole-product tests.
