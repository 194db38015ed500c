//! Helpers of the whole-product tests.

pub mod binary;
pub mod clouds;
pub mod data;
pub mod engine;
pub mod played;
pub mod proxy;
pub mod s3;
pub mod servers;
pub mod sim;
pub mod tools;
