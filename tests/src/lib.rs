//! Helpers of the whole-product tests.

pub mod data;
pub mod engine;
pub mod proxy;
pub mod servers;
