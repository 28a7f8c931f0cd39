//! What the figures were measured on, without any name of a machine or user.

use std::process::Command;

/// One line: CPU, CPUs usable, kernel, huge-page settings, compiler.
pub fn describe(boost: Option<&str>) -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpu = read("/proc/cpuinfo")
        .lines()
        .find_map(|l| l.strip_prefix("model name")?.split_once(": ").map(|(_, name)| name.trim().to_string()))
        .unwrap_or_else(|| std::env::consts::ARCH.into());
    let hypervisor =
        read("/proc/cpuinfo").lines().any(|l| l.starts_with("flags") && l.contains(" hypervisor"));
    let release = read("/proc/sys/kernel/osrelease");
    let kernel = release.trim().split(['-', '+']).next().unwrap_or_default().to_string();
    let chosen = |path: &str| {
        let all = read(path);
        all.split(['[', ']']).nth(1).unwrap_or("unknown").to_string()
    };
    let rustc = Command::new("rustc").arg("--version").output().ok();
    let rustc = rustc
        .and_then(|o| String::from_utf8(o.stdout).ok())
        .and_then(|s| s.split_whitespace().nth(1).map(str::to_string))
        .unwrap_or_else(|| "unknown".into());
    format!(
        "{cpu}{}, {} CPUs, Linux {kernel}, huge pages: private {}, shm {}; rustc {rustc}; {}",
        if hypervisor { " (virtual machine)" } else { "" },
        crate::measure::cpus(),
        chosen("/sys/kernel/mm/transparent_hugepage/enabled"),
        chosen("/sys/kernel/mm/transparent_hugepage/shmem_enabled"),
        boost.unwrap_or("no Boost"),
    )
}
