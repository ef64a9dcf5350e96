//! A load on two servers while somebody breaks the database under them, and what became of all that was acknowledged.
//!
//! `cargo xtask ha` starts it, and tells it by lines what it does; each is answered by one line of JSON:
//!
//! * `hold`: have workers hold leases, and callers wait and watch, so that there is something to be kept.
//! * `broken`: the database was broken a moment ago. The answer comes when both servers take writes again and what was
//!   held has ended: how long that took, and what was kept.
//! * `end`: end the load, wait until every operation is done, then look for all that was acknowledged.

mod call;
mod dice;
mod held;
mod ledger;
mod load;
mod process;
mod round;
mod scene;
mod verdict;
mod work;

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use serde::Serialize;
use tokio::io::{AsyncBufReadExt, BufReader, stdin};

use held::Held;
use load::Load;
use process::Process;
use scene::Scene;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    // `cargo test --all-targets` runs it as well: there it only has to build.
    let [url, name, seed, logs, serve @ ..] = arguments.as_slice() else {
        println!("{USAGE}");
        return Ok(());
    };
    let seed = seed.parse().context("the seed is a number")?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let outcome = runtime.block_on(async {
        process::migrate(url)?;
        let start = |index| Process::start(url, serve, &Path::new(logs).join(format!("{name}-server{index}.log")));
        let servers = [start(0)?, start(1)?];
        obey(&Arc::new(Scene::new(servers.each_ref().map(|server| server.url.clone()), name, seed))).await
    });
    // The thread that reads stdin cannot be stopped.
    runtime.shutdown_background();
    outcome
}

async fn obey(scene: &Arc<Scene>) -> Result<()> {
    let load = Load::start(scene);
    scene.until_both_write_since(tokio::time::Instant::now()).await.context("the load has not begun")?;
    tell("ready")?;
    let mut held = None;
    let mut lines = BufReader::new(stdin()).lines();
    while let Some(line) = lines.next_line().await? {
        match line.as_str() {
            "hold" => {
                held = Some(Held::begin(scene).await?);
                tell("held")?;
            }
            "broken" => tell(&round::after(scene, held.take().context("nothing is held")?).await?)?,
            "end" => {
                load.end().await?;
                return tell(&verdict::judge(scene).await?);
            }
            _ => bail!("{line:?} means nothing"),
        }
    }
    Ok(())
}

fn tell(what: &(impl Serialize + ?Sized)) -> Result<()> {
    println!("{}", serde_json::to_string(what)?);
    Ok(())
}

const USAGE: &str = "\
failover URL NAME SEED LOGS [ARGUMENT...]

  Loads two servers on the database at URL, each started as `operond serve --store URL ARGUMENT...`,
  with operations of kinds that begin with NAME; the servers log into the directory LOGS.
  `cargo xtask ha` starts it, and breaks the database meanwhile.";
