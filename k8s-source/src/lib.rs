//! What a cluster, or a folder of files that describes one, gives to a backup.

pub mod manifest;
