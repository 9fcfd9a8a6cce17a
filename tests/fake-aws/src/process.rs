//! A process of the function, and what the kernel counts of it.

use std::fs;
use std::io;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// A running process. It is killed when this is dropped.
#[derive(Debug)]
pub struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}

impl Process {
    /// Starts it, without standard input.
    pub fn start(command: &mut Command) -> io::Result<Self> {
        Ok(Self(command.stdin(Stdio::null()).spawn()?))
    }

    /// Its id.
    pub fn id(&self) -> u32 {
        self.0.id()
    }

    /// Kills it, and waits for its end.
    pub fn kill(&mut self) -> io::Result<()> {
        self.0.kill()?;
        self.0.wait().map(drop)
    }

    /// Whether it has not ended.
    pub fn is_running(&mut self) -> io::Result<bool> {
        Ok(self.0.try_wait()?.is_none())
    }

    /// What it used so far.
    pub fn used(&self) -> io::Result<Used> {
        Used::by(self.id())
    }
}

/// What a process used so far.
#[derive(Clone, Copy, Debug)]
pub struct Used {
    /// Time on a CPU, of all threads that it still has (`/proc/PID/task/*/schedstat`): of one that ended,
    /// none.
    pub cpu: Duration,
    /// The most memory that it had at once, in KiB (`VmHWM` of `/proc/PID/status`).
    pub peak_kib: u64,
}

impl Used {
    /// Of the process with this id.
    pub fn by(process: u32) -> io::Result<Self> {
        let mut cpu = Duration::ZERO;
        for thread in fs::read_dir(format!("/proc/{process}/task"))? {
            let counted = fs::read_to_string(thread?.path().join("schedstat"))?;
            let nanoseconds = counted.split(' ').next().unwrap_or_default();
            cpu += Duration::from_nanos(nanoseconds.parse().map_err(io::Error::other)?);
        }
        let status = fs::read_to_string(format!("/proc/{process}/status"))?;
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let peak = peak.unwrap_or_default().trim().trim_end_matches(" kB");
        let peak_kib = peak.parse().map_err(io::Error::other)?;
        Ok(Self { cpu, peak_kib })
    }
}
