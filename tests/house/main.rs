//! Keeps the house true: who may depend on whom, and that the documents name files that exist.
#![allow(clippy::unwrap_used)]

mod docs;
mod layers;

use std::path::PathBuf;

/// Root of the repository.
fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .to_owned()
}
