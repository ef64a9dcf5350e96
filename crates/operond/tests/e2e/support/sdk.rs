//! Where the unmodified SDKs are: `cargo xtask test` puts them there.

use std::path::{Path, PathBuf};

/// A Python that has `yandexcloud` and `google-api-core`.
pub(crate) fn python() -> PathBuf {
    installed("OPEROND_SDK_PYTHON", "venv/bin/python")
}

/// For `NODE_PATH`: has `@yandex-cloud/nodejs-sdk` and `google-gax`.
pub(crate) fn node_modules() -> PathBuf {
    installed("OPEROND_SDK_NODE_MODULES", "node/node_modules")
}

/// The program of `tests/sdk/rust`, which has `google-cloud-longrunning`.
pub(crate) fn google_rust() -> PathBuf {
    installed("OPEROND_SDK_RUST", "rust/debug/operond-sdk-tests")
}

/// A file of `tests/sdk`.
pub(crate) fn scripts(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sdk").join(name)
}

fn installed(variable: &str, usual: &str) -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/sdk").join(usual);
    let path = std::env::var_os(variable).map_or(here, PathBuf::from);
    assert!(path.exists(), "{} is not there: run `cargo xtask test`, which installs the SDKs", path.display());
    path
}
