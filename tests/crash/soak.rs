//! An hour's worth of mixed load in short: what the service takes of the machine does not grow.
//!
//! It lives several times, killed or stopped under load each time. One life is long and comes to rest now and then: there
//! a leak shows. The first and the last have the same to do.
#![expect(clippy::print_stdout, reason = "the table is for whoever runs it")]

use std::time::{Duration, Instant};

use crate::common::{Service, eventually};
use crate::plan::Mix;
use crate::storm::Storm;
use crate::watch::{Look, Watch};

/// Tasks and restarts without `CODEX_AGENT_SOAK`, and restarts with it.
const TASKS: usize = 900;
const FEW_RESTARTS: usize = 3;
const RESTARTS: usize = 20;

/// The life that has a third of all tasks. Not the first: that one is compared with the last, which has as much to do.
const LONG_LIFE: usize = 2;

/// How many times it comes to rest, the first time when it has warmed up: its caches are nearly full by then.
const FEW_RESTS: usize = 3;
const RESTS: usize = 8;

/// A command in forty calls, for it costs as much as twenty edits; a quick brain; somebody who looks at everything.
const MIX: Mix = Mix { commands: 25, slowness: 4, reads: 20 };

/// The longest standstill, in milliseconds: far below the lease.
const STANDSTILL: u64 = 400;

/// Above the table. `tasks` have ended in this life so far; `most` is what there ever was in it.
const HEAD: &str = "life           tasks      s  RSS, KiB: at half     now    most  files: at half now most  \
                    threads: most  children  WAL, KiB: most";

/// What the service may take, in KiB where it is bytes.
mod bounds {
    /// Memory after more work, or as much in another life: the database's five connections may not have filled their
    /// caches before, 2 MiB each; and the allocator keeps some of what it had at the worst moment, which comes by chance.
    pub fn memory(before: u64) -> u64 {
        before + before / 8 + 10 * 1024
    }

    /// Files at rest that were not open at the start: the readers of the database open theirs when they are needed.
    pub const MORE_FILES: u64 = 16;

    /// Threads besides one for each core: each running task (32) and its call may wait for a file, and readers do.
    pub const THREADS: u64 = 96;

    /// From 32 MiB on the service waits for readers to let the log be cut; what is written meanwhile comes on top.
    pub const LOG: u64 = 64 * 1024;
}

/// A life of the service, looked at.
struct Life<'a> {
    number: usize,
    storm: &'a Storm,
    service: &'a Service,
    watch: Watch,
    begun: Instant,
    /// Tasks that had ended before it.
    before: usize,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_service_takes_does_not_grow_however_long_it_goes_on() {
    let long = std::env::var("CODEX_AGENT_SOAK").ok().map(|tasks| tasks.parse::<usize>().unwrap());
    let (tasks, restarts, rests) = long.map_or((TASKS, FEW_RESTARTS, FEW_RESTS), |tasks| (tasks, RESTARTS, RESTS));
    let storm = Storm::begin_with(MIX).await;
    // Before the first life, too, is a rest.
    storm.rest().await;
    println!("seed: {}", storm.seed);
    println!("{HEAD}");
    let (mut at_start, mut ends) = (None, Vec::new());
    for number in 1..=restarts + 1 {
        let service = storm.start(&[]).await;
        let life = Life::begin(number, &storm, &service);
        let at_start = *at_start.get_or_insert_with(|| life.watch.now());
        storm.go_on();
        if number == LONG_LIFE {
            life.rests(rests, tasks / 3, at_start).await;
        } else {
            ends.push(life.goes_on(tasks * 2 / 3 / restarts).await.memory);
        }
        if number > restarts {
            life.comes_to_rest(at_start).await;
            storm.settle(&service).await;
        } else if number % 2 == 0 {
            let (_, code) = service.stop().await;
            assert_eq!(code, Some(0), "life {number}, seed {}", storm.seed);
        } else {
            service.kill().await;
        }
    }
    let (first, last) = (ends[0], ends[ends.len() - 1]);
    assert!(last <= bounds::memory(first), "the last life took {last} KiB, the first one {first} for as much");
    let left: Vec<_> = std::fs::read_dir(storm.home.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| name == "code" || name == "output"), "left in TMPDIR: {left:?}");
}

impl<'a> Life<'a> {
    fn begin(number: usize, storm: &'a Storm, service: &'a Service) -> Self {
        let (watch, begun) = (Watch::on(service), Instant::now());
        Self { number, storm, service, watch, begun, before: storm.book.ended() }
    }

    /// So many tasks without a rest, but with a standstill.
    async fn goes_on(&self, tasks: usize) -> Look {
        self.storm.ended(tasks / 2).await;
        let half = self.watch.now();
        self.storm.stands_still(self.service, Duration::from_millis(fastrand::u64(0..STANDSTILL))).await;
        self.storm.ended(tasks - tasks / 2).await;
        let now = self.watch.now();
        self.print("", Some(half), now);
        now
    }

    /// So many tasks with rests between.
    async fn rests(&self, rests: usize, tasks: usize, at_start: Look) {
        let mut memory = Vec::new();
        for _ in 0..rests {
            self.storm.ended(tasks / rests).await;
            memory.push(self.comes_to_rest(at_start).await.memory);
            self.storm.go_on();
        }
        let (warm, end) = (memory[0], memory[rests - 1]);
        assert!(end <= bounds::memory(warm), "it took {warm} KiB when it was warm, {end} at its end");
        // It is not at rest that it is to die.
        self.storm.busy(5).await;
    }

    /// What it takes when there is nothing to do.
    async fn comes_to_rest(&self, at_start: Look) -> Look {
        self.storm.rest().await;
        eventually("a service at rest has as many files and children as at its start", async || {
            let now = self.watch.now();
            now.files <= at_start.files + bounds::MORE_FILES && now.children <= at_start.children
        })
        .await;
        let now = self.watch.now();
        self.print(" at rest", None, now);
        now
    }

    fn print(&self, what: &str, half: Option<Look>, now: Look) {
        let most = self.watch.most();
        let (tasks, time) = (self.storm.book.ended() - self.before, self.begun.elapsed().as_secs());
        let half = half.map_or([String::new(), String::new()], |half| [half.memory, half.files].map(|n| n.to_string()));
        println!(
            "{:>4}{what:<8} {tasks:>7} {time:>6} {:>18} {:>7} {:>7} {:>15} {:>3} {:>4} {:>14} {:>9} {:>15}",
            self.number,
            half[0],
            now.memory,
            most.memory,
            half[1],
            now.files,
            most.files,
            most.threads,
            now.children,
            most.log
        );
        let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get() as u64);
        assert!(most.threads <= cores + bounds::THREADS, "{} threads", most.threads);
        assert!(most.log <= bounds::LOG, "the write-ahead log was {} KiB long", most.log);
    }
}
