//! throwaway
#![allow(warnings)]
#[path = "../tests/store/fixture.rs"]
mod common;
use common::create;
use common::*;
use operond_core::*;
use operond_store::*;
use operond_store_sqlite::*;
use std::sync::Arc;
use std::time::*;

fn cpu() -> f64 {
    let s = std::fs::read_to_string("/proc/self/stat").unwrap();
    let f: Vec<&str> = s.rsplit(')').next().unwrap().split_whitespace().collect();
    (f[11].parse::<f64>().unwrap() + f[12].parse::<f64>().unwrap()) / 100.0
}
fn timed<T>(what: &str, n: usize, f: impl FnOnce() -> T) -> T {
    let c = cpu();
    let t = Instant::now();
    let r = f();
    let e = t.elapsed().as_secs_f64();
    println!("{what}: {n} in {e:.2}s = {:.0}/s, {:.1} us cpu each", n as f64 / e, (cpu() - c) * 1e6 / n as f64);
    r
}
fn main() {
    let n: usize = std::env::args().nth(1).map_or(100_000, |a| a.parse().unwrap());
    let dir = std::env::args().nth(2).unwrap_or("/tmp".into());
    let directory = tempfile::tempdir_in(dir).unwrap();
    let path = path_in(directory.path());
    let open = || SqliteStore::open(&path, Options::default(), SystemClock::new()).unwrap();
    let store = open();
    let spec = Spec {
        description: Description::parse("d", "Render the frames of scene 12").unwrap(),
        labels: Labels::parse([("team", "render"), ("scene", "12")]).unwrap(),
        ..spec("render.frames")
    };
    let mut dice = 0u64;
    let mut ent = || {
        dice += 1;
        let mut e = [0u8; 13];
        e[..8].copy_from_slice(&dice.wrapping_mul(0x9e3779b97f4a7c15).to_le_bytes());
        e
    };
    let mut ids = Vec::new();
    timed("create 64", n, || {
        for _ in 0..n / 64 {
            let reqs = (0..64).map(|_| create(&spec, ent())).collect();
            for r in update(&store, reqs).unwrap().replies {
                if let Ok(Accepted::Created { operation, .. }) = r {
                    ids.push(operation.id.clone())
                }
            }
        }
    });
    println!("ids {}", ids.len());
    for f in ["operond.db", "operond.db-wal"] {
        println!("{f} {}", std::fs::metadata(directory.path().join(f)).unwrap().len());
    }
    println!("bytes/op {}", std::fs::metadata(&path).unwrap().len() as usize / ids.len());
    if std::env::var("ONLY").is_ok() {
        return;
    }
    let g = 50_000.min(n);
    timed("get", g, || {
        for i in 0..g {
            wait(store.get(&ids[(i * 7919) % ids.len()])).unwrap();
        }
    });
    timed("get x8", g * 8, || {
        std::thread::scope(|s| {
            for k in 0..8 {
                let (store, ids) = (&store, &ids);
                s.spawn(move || {
                    for i in 0..g {
                        wait(store.get(&ids[(i * 7919 + k * 13) % ids.len()])).unwrap();
                    }
                });
            }
        })
    });
    let q = |kind: Option<&str>, state| ListQuery {
        kind: kind.map(|k| Kind::new(k).unwrap()),
        state,
        order: Order::NewestFirst,
        after: None,
        limit: 100,
        bytes_max: 3 << 20,
    };
    timed("list all 100", 1000, || {
        for _ in 0..1000 {
            assert_eq!(wait(store.list(&q(None, None))).unwrap().operations.len(), 100)
        }
    });
    timed("list kind 100", 1000, || {
        for _ in 0..1000 {
            wait(store.list(&q(Some("render.frames"), None))).unwrap();
        }
    });
    let mut claimed = Vec::new();
    timed("claim 64", n, || {
        for _ in 0..n / 64 {
            let request = ClaimRequest {
                kinds: [spec.kind.clone()].into(),
                after: None,
                worker: Worker::new("w").unwrap(),
                duration: Duration::from_secs(3600),
                secrets: (0..64).map(|i| LeaseSecret([i; 16])).collect(),
            };
            for r in update(&store, vec![Request::Claim(request)]).unwrap().replies {
                if let Ok(Accepted::Claimed(c)) = r {
                    claimed.extend(c)
                }
            }
        }
    });
    println!("claimed {}", claimed.len());
    timed("heartbeat 64", n, || {
        for c in claimed.chunks(64) {
            let reqs = c
                .iter()
                .map(|o| {
                    let l = o.lease.as_ref().unwrap();
                    Request::Command(
                        o.id.clone(),
                        Box::new(Command::Heartbeat(Heartbeat {
                            lease: LeaseKey { operation: o.id.clone(), token: l.token, secret: l.secret },
                            duration: None,
                            metadata: None,
                            progress: None,
                        })),
                    )
                })
                .collect();
            update(&store, reqs).unwrap();
        }
    });
    timed("complete 64", n, || {
        for c in claimed.chunks(64) {
            update(&store, c.iter().map(|o| complete(o)).collect()).unwrap();
        }
    });
    println!("bytes/op {}", std::fs::metadata(&path).unwrap().len() as usize / ids.len());
    {
        let image = tempfile::tempdir_in(directory.path()).unwrap();
        for f in ["operond.db", "operond.db-wal"] {
            std::process::Command::new("cp").arg(directory.path().join(f)).arg(image.path()).status().unwrap();
        }
        println!("image wal {}", std::fs::metadata(image.path().join("operond.db-wal")).unwrap().len());
        let t = Instant::now();
        let s = SqliteStore::open(path_in(image.path()), Options::default(), SystemClock::new()).unwrap();
        println!("open image {:?}", t.elapsed());
        wait(s.get(&ids[0])).unwrap();
        println!("first get {:?}", t.elapsed());
    }
    timed("claim nothing", 20000, || {
        for _ in 0..20000 {
            let request = ClaimRequest {
                kinds: [spec.kind.clone()].into(),
                after: None,
                worker: Worker::new("w").unwrap(),
                duration: Duration::from_secs(3600),
                secrets: vec![LeaseSecret([0; 16])],
            };
            update(&store, vec![Request::Claim(request)]).unwrap();
        }
    });
    timed("create 1", 2000, || {
        for _ in 0..2000 {
            update(&store, vec![create(&spec, ent())]).unwrap();
        }
    });
    timed("delete 64", n, || {
        for c in claimed.chunks(64) {
            update(&store, c.iter().map(|o| Request::Command(o.id.clone(), Box::new(Command::Delete))).collect())
                .unwrap();
        }
    });
    let image = tempfile::tempdir_in(directory.path()).unwrap();
    let t = Instant::now();
    drop(store);
    println!("close {:?}", t.elapsed());
    let t = Instant::now();
    let s = open();
    println!("open {:?}", t.elapsed());
}
