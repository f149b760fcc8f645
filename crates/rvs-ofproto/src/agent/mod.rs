//! The connections of a bridge.
