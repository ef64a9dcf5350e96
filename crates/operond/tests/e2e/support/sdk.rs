//! Where the unmodified SDKs are: `cargo xtask test` puts them there.

use std::path::{Path, PathBuf};

/// A Python that has `yandexcloud`.
pub(crate) fn python() -> PathBuf {
    installed("OPEROND_SDK_PYTHON", "venv/bin/python")
}

/// For `NODE_PATH`: has `@yandex-cloud/nodejs-sdk`.
pub(crate) fn node_modules() -> PathBuf {
    installed("OPEROND_SDK_NODE_MODULES", "node/node_modules")
}

fn installed(variable: &str, usual: &str) -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/sdk").join(usual);
    let path = std::env::var_os(variable).map_or(here, PathBuf::from);
    assert!(path.exists(), "{} is not there: run `cargo xtask test`, which installs the SDKs", path.display());
    path
}
