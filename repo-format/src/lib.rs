//! The bytes of an orlop repository: values to bytes and back, and nothing else.
