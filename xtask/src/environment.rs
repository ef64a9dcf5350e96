//! Directories under `target` that are made from files which pin their contents.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};

use crate::debian::{Tool, ensure_tools, run};

/// One such directory.
pub(crate) struct Environment {
    pub(crate) title: &'static str,
    pub(crate) home: PathBuf,
    /// What is used of it, within `home`.
    pub(crate) product: &'static str,
    pub(crate) requirements: Vec<PathBuf>,
    /// What must be on the machine to install it and, the first, to use it.
    pub(crate) tools: &'static [Tool],
    pub(crate) install: fn(&Environment) -> anyhow::Result<()>,
}

impl Environment {
    /// Makes the environment unless it is there, and returns the product's path.
    pub(crate) fn ensure(&self) -> anyhow::Result<PathBuf> {
        let product = self.home.join(self.product);
        let stamp = self.home.with_extension("stamp");
        let digest = digest(&self.requirements)?;
        let stamped = fs::read_to_string(&stamp).is_ok_and(|text| text == digest);
        if stamped && product.exists() && self.tools[0].works() {
            println!("==> {}: set up already", self.title);
            return Ok(product);
        }

        println!("==> {}: installing (a minute or so)", self.title);
        ensure_tools(self.tools)?;
        // A stamp must never outlive what it speaks of, whatever ends this chore half-way.
        remove(&stamp)?;
        remove(&self.home)?;
        fs::create_dir_all(&self.home).with_context(|| format!("creating {}", self.home.display()))?;
        (self.install)(self).with_context(|| format!("installing the {}", self.title))?;
        ensure!(product.exists(), "{} was not made", product.display());
        fs::write(&stamp, digest).with_context(|| format!("writing {}", stamp.display()))?;
        Ok(product)
    }
}

/// Makes a virtual environment of the Python that is the first of the tools, with what the first of the requirements
/// names.
pub(crate) fn install_python(environment: &Environment) -> anyhow::Result<()> {
    run(Command::new(environment.tools[0].probe[0]).args(["-m", "venv"]).arg(&environment.home))?;
    run(Command::new(environment.home.join("bin/python"))
        .args(["-m", "pip", "install", "--disable-pip-version-check"])
        .args(["--no-input", "--progress-bar", "off", "--requirement"])
        .arg(&environment.requirements[0]))
}

/// One line that changes whenever one of `files` does.
fn digest(files: &[PathBuf]) -> anyhow::Result<String> {
    let mut hasher = blake3::Hasher::new();
    for file in files {
        let content = fs::read(file).with_context(|| format!("reading {}", file.display()))?;
        // Each file by its own digest: bytes that move from one to the next are a change, too.
        hasher.update(blake3::hash(&content).as_bytes());
    }
    Ok(format!("{}\n", hasher.finalize().to_hex()))
}

/// Removes a file or a directory with all it holds; none there is as good.
fn remove(path: &Path) -> anyhow::Result<()> {
    let outcome = if path.is_dir() {
        fs::remove_dir_all(path)
    } else if path.exists() {
        fs::remove_file(path)
    } else {
        return Ok(());
    };
    outcome.with_context(|| format!("removing {}", path.display()))
}

#[cfg(test)]
mod tests {
    use anyhow::bail;

    use super::*;

    #[test]
    fn an_environment_is_made_once_and_again_when_its_requirements_change() {
        let scratch = tempfile::tempdir().unwrap();
        let requirements = scratch.path().join("requirements.txt");
        let environment = Environment {
            title: "SDK",
            home: scratch.path().join("home"),
            product: "made-from",
            requirements: vec![requirements.clone()],
            tools: &[TRUE],
            install: |environment| {
                fs::copy(&environment.requirements[0], environment.home.join("made-from"))?;
                Ok(())
            },
        };

        fs::write(&requirements, "one").unwrap();
        let product = environment.ensure().unwrap();
        assert_eq!(fs::read_to_string(&product).unwrap(), "one");

        // Made again, the mark would be gone.
        fs::write(&product, "mark").unwrap();
        environment.ensure().unwrap();
        assert_eq!(fs::read_to_string(&product).unwrap(), "mark");

        let leftover = environment.home.join("leftover");
        fs::write(&leftover, "of the old one").unwrap();
        fs::write(&requirements, "two").unwrap();
        environment.ensure().unwrap();
        assert_eq!(fs::read_to_string(&product).unwrap(), "two");
        assert!(!leftover.exists());

        fs::remove_file(&product).unwrap();
        environment.ensure().unwrap();
        assert_eq!(fs::read_to_string(&product).unwrap(), "two");
    }

    #[test]
    fn a_failed_install_leaves_no_stamp() {
        let scratch = tempfile::tempdir().unwrap();
        let requirements = scratch.path().join("requirements.txt");
        fs::write(&requirements, "one").unwrap();
        let mut environment = Environment {
            title: "SDK",
            home: scratch.path().join("home"),
            product: "product",
            requirements: vec![requirements],
            tools: &[TRUE],
            install: |environment| {
                fs::write(environment.home.join("product"), "half")?;
                bail!("no network")
            },
        };

        let error = environment.ensure().unwrap_err();
        assert_eq!(format!("{error:#}"), "installing the SDK: no network");

        environment.install = |environment| {
            fs::write(environment.home.join("product"), "whole")?;
            Ok(())
        };
        let product = environment.ensure().unwrap();
        assert_eq!(fs::read_to_string(product).unwrap(), "whole");
    }

    const TRUE: Tool = Tool { probe: &["true"], package: "coreutils" };
}
