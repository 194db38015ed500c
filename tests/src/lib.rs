//! Helpers of the whole-product tests.

pub mod proxy;
pub mod servers;
