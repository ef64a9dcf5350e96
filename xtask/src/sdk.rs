//! The client SDKs that the tests drive, unmodified and at pinned versions, under `target/sdk`.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail, ensure};

/// Where the tests find the SDKs.
pub(crate) struct Sdks {
    /// A Python that can import `yandexcloud` and `google.api_core`.
    pub(crate) python: PathBuf,
    /// A directory for `NODE_PATH` that holds `@yandex-cloud/nodejs-sdk` and `google-gax`.
    pub(crate) node_modules: PathBuf,
    /// A program that drives the crate `google-cloud-longrunning`.
    pub(crate) rust: PathBuf,
}

/// Installs what is missing or was installed from other requirements; the rest is left as it is.
///
/// # Errors
/// Something that must be installed cannot be; the message says by which command.
pub(crate) fn set_up() -> anyhow::Result<Sdks> {
    let directory = crate::root().join("target/sdk");
    let scripts = crate::root().join("crates/operond/tests/sdk");
    let python = Environment {
        title: "Python SDKs",
        home: directory.join("venv"),
        product: "bin/python",
        requirements: vec![scripts.join("python/requirements.txt")],
        tools: &[PYTHON],
        install: install_python,
    };
    let node = Environment {
        title: "Node SDKs",
        home: directory.join("node"),
        product: "node_modules",
        requirements: ["package.json", "package-lock.json", ".npmrc"]
            .map(|name| scripts.join("node").join(name))
            .into(),
        tools: &[NODE, NPM],
        install: install_node,
    };
    let rust = build_rust(&scripts.join("rust"), &directory.join("rust"))?;
    Ok(Sdks { python: python.ensure()?, node_modules: node.ensure()?, rust })
}

/// Cargo itself knows what is built already, from which sources and versions: it needs no stamp.
fn build_rust(project: &Path, target: &Path) -> anyhow::Result<PathBuf> {
    println!("==> Rust SDK: cargo build (the first time a minute or so)");
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    run(Command::new(cargo)
        .args(["build", "--quiet", "--locked", "--manifest-path"])
        .arg(project.join("Cargo.toml"))
        .arg("--target-dir")
        .arg(target))
    .context("building the Rust SDK's program")?;
    Ok(target.join("debug/operond-sdk-tests"))
}

/// One SDK's directory, made from files that pin its contents.
struct Environment {
    title: &'static str,
    home: PathBuf,
    /// What the tests use, within `home`.
    product: &'static str,
    requirements: Vec<PathBuf>,
    /// What must be on the machine to install it and, the first, to use it.
    tools: &'static [Tool],
    install: fn(&Environment) -> anyhow::Result<()>,
}

impl Environment {
    /// Makes the environment unless it is there, and returns the product's path.
    fn ensure(&self) -> anyhow::Result<PathBuf> {
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

fn install_python(environment: &Environment) -> anyhow::Result<()> {
    run(Command::new("python3").args(["-m", "venv"]).arg(&environment.home))?;
    run(Command::new(environment.home.join("bin/python"))
        .args(["-m", "pip", "install", "--disable-pip-version-check"])
        .args(["--no-input", "--progress-bar", "off", "--requirement"])
        .arg(&environment.requirements[0]))
}

fn install_node(environment: &Environment) -> anyhow::Result<()> {
    for file in &environment.requirements {
        let name = file.file_name().expect("requirements are files");
        fs::copy(file, environment.home.join(name)).with_context(|| format!("copying {}", file.display()))?;
    }
    run(Command::new("npm").args(["ci", "--no-audit", "--no-fund", "--ignore-scripts"]).current_dir(&environment.home))
}

/// A program that Debian has in a package.
struct Tool {
    /// A command that succeeds when the program is there and whole.
    probe: &'static [&'static str],
    package: &'static str,
}

const PYTHON: Tool = Tool {
    // Debian's python3 comes without the two modules that make a virtual environment.
    probe: &["python3", "-c", "import ensurepip, venv"],
    package: "python3-venv",
};
const NODE: Tool = Tool { probe: &["node", "--version"], package: "nodejs" };
const NPM: Tool = Tool { probe: &["npm", "--version"], package: "npm" };

impl Tool {
    fn works(&self) -> bool {
        Command::new(self.probe[0])
            .args(&self.probe[1..])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
    }
}

/// Installs the Debian packages of the tools that do not work.
fn ensure_tools(tools: &[Tool]) -> anyhow::Result<()> {
    let missing: Vec<&str> = tools.iter().filter(|tool| !tool.works()).map(|tool| tool.package).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let packages = missing.join(" ");
    if !is_root() {
        bail!("the tests need {packages}; run: sudo apt-get install --yes {packages}");
    }
    println!("==> apt-get install {packages}");
    run(Command::new("apt-get").args(["update", "--quiet"]))?;
    run(Command::new("apt-get")
        .args(["install", "--quiet", "--yes", "--no-install-recommends"])
        .args(&missing)
        .env("DEBIAN_FRONTEND", "noninteractive"))
    .with_context(|| format!("the tests need {packages}: install them by hand"))
}

fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output();
    id.is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}

/// Runs a command, its output passed through; anything but success is an error that names it.
fn run(command: &mut Command) -> anyhow::Result<()> {
    let status = command.stdin(Stdio::null()).status().with_context(|| format!("starting {command:?}"))?;
    ensure!(status.success(), "{command:?}: {status}");
    Ok(())
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
