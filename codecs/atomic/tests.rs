//! Promises of the atomic codec.
