//! What an instance uses: read from its control groups where the engine runs on this kernel, else asked of
//! the engine, which takes its time over it.

use bollard::{Docker, models::ContainerStatsResponse, query_parameters::StatsOptionsBuilder};
use futures_util::StreamExt as _;
use parking_lot::Mutex;
use std::{
    fs,
    path::{Path, PathBuf},
    sync::LazyLock,
    time::{Duration, Instant},
};
use tokio::{sync::Semaphore, time::timeout};
use xebec_core::ports::instance::Usage;

/// What was asked of the engine holds for so long.
const FRESH: Duration = Duration::from_secs(4);

/// How long the engine may take over it.
const PATIENCE: Duration = Duration::from_secs(2);

/// Containers that engines are asked about at a time.
static ASKING: LazyLock<Semaphore> = LazyLock::new(|| Semaphore::new(4));

/// Where a container's use can be read.
#[derive(Debug)]
struct Files {
    cpu: PathBuf,
    memory: PathBuf,
}

/// What tells of one container.
#[derive(Debug, Default)]
pub(crate) struct Gauge {
    files: Option<Files>,
    /// What the engine said, and when.
    said: Mutex<Option<(Instant, Usage)>>,
}

impl Gauge {
    /// The gauge of a container; `process` is its main process, if that runs on this kernel.
    pub(crate) fn of(process: Option<i64>) -> Self {
        let groups = process.and_then(|process| fs::read_to_string(format!("/proc/{process}/cgroup")).ok());
        let files = groups.and_then(|groups| {
            let found = candidates(&groups);
            found.into_iter().find(|files| files.cpu.exists() && files.memory.exists())
        });
        Self { files, said: Mutex::default() }
    }

    /// What the container uses now, or did some seconds ago.
    pub(crate) async fn read(&self, docker: &Docker, container: &str) -> Option<Usage> {
        if let Some(files) = &self.files {
            return files.read();
        }
        let said = *self.said.lock();
        if let Some((at, usage)) = said
            && at.elapsed() < FRESH
        {
            return Some(usage);
        }
        let usage = timeout(PATIENCE, ask(docker, container)).await.ok().flatten()?;
        *self.said.lock() = Some((Instant::now(), usage));
        Some(usage)
    }
}

async fn ask(docker: &Docker, container: &str) -> Option<Usage> {
    let _turn = ASKING.acquire().await.ok()?;
    let options = StatsOptionsBuilder::default().stream(false).one_shot(true).build();
    let said = std::pin::pin!(docker.stats(container, Some(options))).next().await?.ok()?;
    usage_of(&said)
}

fn usage_of(said: &ContainerStatsResponse) -> Option<Usage> {
    let cpu = said.cpu_stats.as_ref()?.cpu_usage.as_ref()?.total_usage?;
    let memory_bytes = said.memory_stats.as_ref()?.usage?;
    Some(Usage { cpu: Duration::from_nanos(cpu), memory_bytes })
}

impl Files {
    fn read(&self) -> Option<Usage> {
        let memory_bytes = fs::read_to_string(&self.memory).ok()?.trim().parse().ok()?;
        Some(Usage { cpu: processor_time(&self.cpu)?, memory_bytes })
    }
}

/// `cpu.stat` of version 2 counts microseconds beside others, `cpuacct.usage` of version 1 nanoseconds alone.
fn processor_time(file: &Path) -> Option<Duration> {
    let text = fs::read_to_string(file).ok()?;
    if let Ok(nanoseconds) = text.trim().parse() {
        return Some(Duration::from_nanos(nanoseconds));
    }
    let microseconds = text.lines().find_map(|line| line.strip_prefix("usage_usec "))?;
    microseconds.trim().parse().ok().map(Duration::from_micros)
}

/// Where they may be, by the lines `number:controllers:path`; version 2 has no controllers there.
fn candidates(groups: &str) -> Vec<Files> {
    let root = Path::new("/sys/fs/cgroup");
    let path_of = |wanted: &str| {
        groups.lines().find_map(|line| {
            let mut parts = line.splitn(3, ':').skip(1);
            let (controllers, path) = (parts.next()?, parts.next()?.trim_start_matches('/'));
            // The root group is all of the machine.
            (!path.is_empty() && controllers.split(',').any(|one| one == wanted)).then_some(path)
        })
    };
    let second = path_of("").map(|path| root.join(path));
    let second =
        second.map(|group| Files { cpu: group.join("cpu.stat"), memory: group.join("memory.current") });
    let first = path_of("cpuacct").zip(path_of("memory")).map(|(cpu, memory)| Files {
        cpu: root.join("cpuacct").join(cpu).join("cpuacct.usage"),
        memory: root.join("memory").join(memory).join("memory.usage_in_bytes"),
    });
    first.into_iter().chain(second).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(groups: &str) -> Vec<(String, String)> {
        let shown = |path: &Path| path.display().to_string();
        candidates(groups).iter().map(|files| (shown(&files.cpu), shown(&files.memory))).collect()
    }

    #[test]
    fn both_versions() {
        let place =
            |cpu: &str, memory: &str| (format!("/sys/fs/cgroup/{cpu}"), format!("/sys/fs/cgroup/{memory}"));
        let first = "5:cpu,cpuacct:/docker/a\n4:memory:/docker/a\n0::/\n";
        let files = place("cpuacct/docker/a/cpuacct.usage", "memory/docker/a/memory.usage_in_bytes");
        assert_eq!(places(first), [files]);
        let second = "0::/system.slice/docker-a.scope\n";
        let group = "system.slice/docker-a.scope";
        assert_eq!(places(second), [place(&format!("{group}/cpu.stat"), &format!("{group}/memory.current"))]);
        assert!(places("0::/\n").is_empty());
    }

    #[test]
    fn counters_of_both_versions() {
        let place = tempfile::tempdir().unwrap();
        let file = |text: &str| {
            let path = place.path().join("counter");
            fs::write(&path, text).unwrap();
            path
        };
        assert_eq!(processor_time(&file("1500000\n")), Some(Duration::from_micros(1500)));
        let second = file("nr_periods 0\nusage_usec 1500\nuser_usec 1000\n");
        assert_eq!(processor_time(&second), Some(Duration::from_micros(1500)));
        assert_eq!(processor_time(&file("")), None);
    }

    #[test]
    fn what_the_engine_says() {
        let said = serde_json::json!({
            "cpu_stats": { "cpu_usage": { "total_usage": 2_000_000_000u64 } },
            "memory_stats": { "usage": 4096 },
        });
        let usage = usage_of(&serde_json::from_value(said).unwrap());
        assert_eq!(usage, Some(Usage { cpu: Duration::from_secs(2), memory_bytes: 4096 }));
        assert_eq!(usage_of(&ContainerStatsResponse::default()), None);
    }
}
