//! Benchmarks: what the machine can do, and how near the engine comes.
