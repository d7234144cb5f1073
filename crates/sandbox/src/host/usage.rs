//! What a sandbox uses, read where the kernel counts it: its control groups, and what they do not count (the
//! processor, where version 1 keeps its accounts in a hierarchy of their own) process by process.

use crate::{cgroup::counter, wire::Taken};
use std::{
    fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// A sandbox with more processes than this is not counted one by one.
const MOST_PROCESSES: usize = 1000;

/// What a sandbox uses, all of its processes together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SandboxUsage {
    /// Processor time used since it was made. Never falls.
    pub cpu: Duration,
    /// Memory held now.
    pub memory_bytes: u64,
}

/// Where to read it.
#[derive(Debug)]
pub(super) struct Gauge {
    cpu_file: Option<PathBuf>,
    memory_file: Option<PathBuf>,
    /// Lists all processes.
    processes_file: Option<PathBuf>,
    /// Nanoseconds of processor time seen so far: who is reaped between two looks is counted a moment late.
    seen: AtomicU64,
}

impl Gauge {
    pub(super) fn of(taken: &Taken) -> Self {
        Self {
            cpu_file: taken.cpu_file.clone(),
            memory_file: taken.memory_file.clone(),
            processes_file: taken.processes_file.clone(),
            seen: AtomicU64::new(0),
        }
    }

    /// `None` where no control group tells.
    pub(super) fn read(&self) -> Option<SandboxUsage> {
        let counted = self.cpu_file.as_deref().and_then(processor_time);
        let memory = self.memory_file.as_deref().and_then(number);
        let (cpu, memory_bytes) = match (counted, memory) {
            (Some(cpu), Some(memory)) => (cpu, memory),
            (cpu, memory) => {
                let processes = processes(self.processes_file.as_deref()?)?;
                (cpu.unwrap_or(processes.cpu), memory.unwrap_or(processes.memory_bytes))
            }
        };
        let nanoseconds = u64::try_from(cpu.as_nanos()).unwrap_or(u64::MAX);
        let before = self.seen.fetch_max(nanoseconds, Ordering::Relaxed);
        Some(SandboxUsage { cpu: Duration::from_nanos(nanoseconds.max(before)), memory_bytes })
    }
}

fn number(file: &Path) -> Option<u64> {
    fs::read_to_string(file).ok()?.trim().parse().ok()
}

/// `cpu.stat` of version 2 counts microseconds beside others, `cpuacct.usage` of version 1 nanoseconds alone.
fn processor_time(file: &Path) -> Option<Duration> {
    let text = fs::read_to_string(file).ok()?;
    match text.trim().parse() {
        Ok(nanoseconds) => Some(Duration::from_nanos(nanoseconds)),
        Err(_) => counter(&text, "usage_usec").map(Duration::from_micros),
    }
}

/// All processes of a group. Those that have ended count with whoever reaped them, which is one of the group.
fn processes(list: &Path) -> Option<SandboxUsage> {
    let list = fs::read_to_string(list).ok()?;
    let mut sum = SandboxUsage::default();
    for pid in list.lines().take(MOST_PROCESSES) {
        // One that has ended meanwhile counts next time, with whoever reaped it.
        let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { continue };
        if let Some(one) = process(&stat) {
            sum.cpu += one.cpu;
            sum.memory_bytes += one.memory_bytes;
        }
    }
    Some(sum)
}

/// A process, and those that it reaped. Its name may hold anything, so fields are counted from behind that.
fn process(stat: &str) -> Option<SandboxUsage> {
    let (_, fields) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = fields.split_ascii_whitespace().collect();
    let field = |at: usize| fields.get(at)?.parse::<u64>().ok();
    // utime, stime, cutime and cstime; rss.
    let ticks: u64 = (11..15).map(field).sum::<Option<u64>>()?;
    let cpu = Duration::from_secs(ticks) / u32::try_from(of_system(libc::_SC_CLK_TCK)?).ok()?;
    Some(SandboxUsage { cpu, memory_bytes: field(21)? * of_system(libc::_SC_PAGESIZE)? })
}

/// A constant of the system, above 0.
fn of_system(name: libc::c_int) -> Option<u64> {
    // SAFETY: it takes no pointers, and refuses what it does not know.
    let value = unsafe { libc::sysconf(name) };
    u64::try_from(value).ok().filter(|value| *value > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_versions_of_control_groups() {
        let place = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = place.path().join(name);
            fs::write(&path, text).unwrap();
            Some(path)
        };
        let second = Gauge {
            cpu_file: file("cpu.stat", "usage_usec 1500\nuser_usec 1000\nsystem_usec 500\n"),
            memory_file: file("memory.current", "4096\n"),
            processes_file: None,
            seen: AtomicU64::new(0),
        };
        let usage = SandboxUsage { cpu: Duration::from_micros(1500), memory_bytes: 4096 };
        assert_eq!(second.read(), Some(usage));
        let first = Gauge { cpu_file: file("cpuacct.usage", "1700000\n"), ..second };
        assert_eq!(first.read(), Some(SandboxUsage { cpu: Duration::from_micros(1700), ..usage }));
        file("cpuacct.usage", "1600000\n");
        assert_eq!(first.read(), Some(SandboxUsage { cpu: Duration::from_micros(1700), ..usage }));
    }

    #[test]
    fn process_by_process() {
        let place = tempfile::tempdir().unwrap();
        let list = place.path().join("cgroup.procs");
        fs::write(&list, format!("{}\n999999999\n", std::process::id())).unwrap();
        let gauge =
            Gauge { cpu_file: None, memory_file: None, processes_file: Some(list), seen: AtomicU64::new(0) };
        let deadline = std::time::Instant::now() + Duration::from_secs(60);
        while gauge.read().is_none_or(|usage| usage.cpu < Duration::from_millis(20)) {
            assert!(std::time::Instant::now() < deadline, "it never used any time: {:?}", gauge.read());
        }
        assert!(gauge.read().is_some_and(|usage| usage.memory_bytes > 1 << 16));
    }

    #[test]
    fn names_do_not_confuse() {
        let stat = "1 (a) b) S 2 3 4 5 6 7 8 9 10 11 100 50 20 30 15 16 17 18 19 20 2 22";
        let usage = process(stat).unwrap();
        assert_eq!(usage.cpu, Duration::from_secs(200) / of_system(libc::_SC_CLK_TCK).unwrap() as u32);
        assert_eq!(usage.memory_bytes, 2 * of_system(libc::_SC_PAGESIZE).unwrap());
        assert_eq!(process("1 (short) S 2"), None);
    }
}
