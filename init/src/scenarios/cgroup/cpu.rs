//! The cpu controller, and the counters of CPU time and pressure.

use std::fs;
use std::thread::sleep;
use std::time::Duration;

use super::super::support::{decide, judge, note, present, read, require, until};
use super::super::{Finding, Probe, Scenario, Trouble};
use super::share::{EQUAL, burn, share_percent, usage_usec};
use super::task::Task;
use super::{DOCUMENT, charged};
use crate::sandbox::cgroup::{self, Cgroup};
use crate::sandbox::{During, Limit, Sandbox};
use crate::sys::privilege::set_nice;

const SECTION: &str = "Documentation/admin-guide/cgroup-v2.rst, section CPU Interface Files";

const QUOTA: Limit = Limit { file: "cpu.max", value: "20000 100000" };
const ALLOWANCE: Limit = Limit { file: "cpu.max.burst", value: "20000" };

pub(super) const BURST: Scenario = Scenario::new(
    "cgroup.cpu-burst",
    "cpu.max.burst lets a cgroup use the quota that earlier periods have left",
    burst,
)
.shows(&["5a", "4a"], SECTION)
.steps(&[
    "Creates a cgroup with a quota of 20 ms in each 100 ms (cpu.max) and cpu.max.burst of 20 ms.",
    "Inside: sleeps for two periods, then works for 30 ms, and does so until a counter of cpu.stat tells the effect.",
    "cpu.stat must count a burst (nr_bursts).",
    "The control has no cpu.max.burst: it is throttled (nr_throttled) and has no bursts.",
])
.by_means_of("cpu.max.burst")
.needs(&["CONFIG_CGROUPS", "CONFIG_CFS_BANDWIDTH"], 5, 16, 0)
.probed_by(|| cgroup::probe(&[ALLOWANCE])?.and(|| probe_counter("nr_bursts")));

fn burst(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    // The control is throttled this often before the trial believes that it has no bursts.
    const THROTTLED: u64 = 3;
    let cgroup = Cgroup::create(if sandbox.applies() { &[QUOTA, ALLOWANCE] } else { &[QUOTA] })?;
    let (bursts, throttled) = sandbox.run(|| {
        cgroup.enter()?;
        loop {
            let counts = (cgroup.count("cpu.stat", "nr_bursts")?, cgroup.count("cpu.stat", "nr_throttled")?);
            if counts.0 > 0 || counts.1 >= THROTTLED {
                return Ok(counts);
            }
            sleep(Duration::from_millis(200));
            burn(Duration::from_millis(30))?;
        }
    })?;
    note(format_args!("nr_throttled: {throttled}"));
    decide("nr_bursts of cpu.stat", &bursts, (bursts > 0, bursts == 0), "a number")
}

pub(super) const IDLE: Scenario =
    Scenario::new("cgroup.cpu-idle", "A cgroup with cpu.idle gets the CPU only when the other cgroups leave it", idle)
        .shows(&["5a"], SECTION)
        .steps(&[
            "Starts a busy process in each of two cgroups on the same CPU, and writes 1 to cpu.idle of the first one.",
            "Waits for nine periods in which both use 60 ms together.",
            "The median of the idle cgroup's share (usage_usec of cpu.stat) must be less than 7 %.",
            "The control does not write it: the share is about 50 %.",
        ])
        .in_cgroup(&[Limit { file: "cpu.idle", value: "1" }])
        .needs(&["CONFIG_CGROUPS", "CONFIG_FAIR_GROUP_SCHED"], 5, 15, 0);

fn idle(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let share = share_percent(sandbox.limits())?;
    let found = (share < 7, EQUAL.contains(&share));
    decide("the idle cgroup's share of the CPU, in percent", &share, found, "less than 7, or 12 to 85")
}

pub(super) const MAX: Scenario =
    Scenario::new("cgroup.cpu-max", "cpu.max throttles a cgroup that has used up its quota of the period", max)
        .shows(&["5a", "6a"], SECTION)
        .steps(&[
            "Runs in a cgroup whose quota is 10 ms in each 100 ms (cpu.max).",
            "Inside: works for 50 ms without a pause.",
            "cpu.stat must count a period at least that was throttled (nr_throttled).",
            "The control runs in a cgroup without a quota: no period is throttled.",
        ])
        .in_cgroup(&[Limit { file: "cpu.max", value: "10000 100000" }])
        .needs(&["CONFIG_CGROUPS", "CONFIG_CFS_BANDWIDTH"], 4, 15, 0);

fn max(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    // The quota of five periods.
    const WORK: Duration = Duration::from_millis(50);
    let cgroup = Cgroup::create(sandbox.limits())?;
    let throttled = sandbox.run(|| {
        cgroup.enter()?;
        burn(WORK)?;
        cgroup.count("cpu.stat", "nr_throttled")
    })?;
    let found = (throttled > 0, throttled == 0);
    decide(&format!("periods in which {WORK:?} of work were throttled"), &throttled, found, "a number")
}

pub(super) const NICE: Scenario =
    Scenario::new("cgroup.cpu-nice", "cpu.stat of a cgroup counts the time of niced processes apart", nice)
        .shows(&["4a"], DOCUMENT)
        .steps(&[
            "Inside: lowers its priority by setpriority(2) to nice 10, and works for 50 to 300 ms.",
            "nice_usec of the cgroup's cpu.stat must count that time.",
            "The control works with nice 0: nice_usec stays 0.",
        ])
        .by_means_of("setpriority(2)")
        .needs(&["CONFIG_CGROUPS"], 6, 13, 0)
        .backported(&[(6, 12, 23)])
        .probed_by(|| probe_counter("nice_usec"));

fn nice(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    // The kernel counts this time in ticks, of which a slow emulator loses some.
    const ROUNDS: u32 = 6;
    let cgroup = Cgroup::create(&[])?;
    let niced = sandbox.run(|| {
        if sandbox.applies() {
            set_nice(10).during("setpriority(2)")?;
        }
        cgroup.enter()?;
        let mut niced = 0;
        for _ in 0..ROUNDS {
            if niced == 0 {
                burn(Duration::from_millis(50))?;
                niced = cgroup.count("cpu.stat", "nice_usec")?;
            }
        }
        Ok(niced)
    })?;
    decide("nice_usec of cpu.stat", &niced, (niced > 0, niced == 0), "a number")
}

/// The cpu.stat of a cgroup has this counter.
fn probe_counter(counter: &str) -> Result<Probe, Trouble> {
    let stat = Cgroup::create(&[])?.read("cpu.stat")?;
    Ok(if stat.lines().any(|line| line.split(' ').next() == Some(counter)) {
        Probe::Available
    } else {
        Probe::Missing(format!("cpu.stat has no {counter}"))
    })
}

pub(super) const PRESSURE: Scenario = Scenario::new(
    "cgroup.pressure",
    "Processes that wait for a CPU count in the cpu.pressure of their own cgroup",
    pressure,
)
.shows(&["3e", "4a"], "Documentation/accounting/psi.rst, section Cgroup2 interface")
.steps(&[
    "Creates two cgroups. Starts two busy processes on the same CPU, both in the first cgroup.",
    "Waits until one of the cgroups has waited for 20 ms (total of the line some in cpu.pressure).",
    "The first cgroup must have waited, and the second one not at all.",
    "The control starts the processes in the second cgroup.",
])
.by_means_of("a cgroup of its own")
.needs(&["CONFIG_CGROUPS", "CONFIG_PSI"], 4, 20, 0)
.probed_by(|| cgroup::probe_file("cpu.pressure"));

fn pressure(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    const WAITED_USEC: u64 = 20_000;
    let (own, bystander) = (Cgroup::create(&[])?, Cgroup::create(&[])?);
    let home = if sandbox.applies() { &own } else { &bystander };
    let _busy = (Task::busy(home)?, Task::busy(home)?);
    let mut waited = (0, 0);
    until("the pressure of two busy processes", || {
        waited = (waited_usec(&own)?, waited_usec(&bystander)?);
        Ok(waited.0.max(waited.1) >= WAITED_USEC)
    })?;
    note(format_args!(
        "/proc/loadavg, for the whole machine: {}",
        fs::read_to_string("/proc/loadavg").unwrap_or_default()
    ));
    judge(
        "whether the process's own cgroup has waited, and the other one",
        &(waited.0 > 0, waited.1 > 0),
        &(true, false),
        &(false, true),
    )
}

/// The time in which some process of the cgroup waited for a CPU, in microseconds.
fn waited_usec(cgroup: &Cgroup) -> Result<u64, Trouble> {
    let text = cgroup.read("cpu.pressure")?;
    let total = text.lines().find(|line| line.starts_with("some ")).and_then(|line| line.rsplit_once("total="));
    total.ok_or_else(|| Trouble::new("cpu.pressure has no total"))?.1.parse().during("reading cpu.pressure")
}

pub(super) const USAGE: Scenario = Scenario::new(
    "cgroup.cpu-usage",
    "The CPU time of a process counts in its own cgroup only",
    usage,
)
.shows(&["4a"], SECTION)
.steps(&[
    "Creates two cgroups. Inside: enters the first one and works for 50 ms; /proc/self/schedstat must tell that too.",
    "Outside: usage_usec of the first cgroup's cpu.stat must have grown by that, the second one's not.",
    "The control works in the second cgroup.",
])
.by_means_of("a cgroup of its own")
.needs(&["CONFIG_CGROUPS", "CONFIG_SCHED_INFO"], 4, 15, 0)
.probed_by(|| present("/proc/self/schedstat"));

fn usage(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    const WORK: Duration = Duration::from_millis(50);
    // Reads of the process's clock and of the cgroup's counter do not see quite the same.
    charged(sandbox, "usage_usec", 45_000, usage_usec, || {
        burn(WORK)?;
        let run_ns = read("/proc/self/schedstat")?.split(' ').next().unwrap_or_default().parse::<u64>();
        require("whether schedstat has 40 ms at least", &run_ns.during("reading schedstat")?.ge(&40_000_000), &true)
    })
}

pub(super) const WEIGHT: Scenario = Scenario::new(
    "cgroup.cpu-weight",
    "cpu.weight divides a CPU between busy cgroups: 10000 gets nearly all beside 100",
    weight,
)
.shows(&["5a"], SECTION)
.steps(&[
    "Starts a busy process in each of two cgroups on the same CPU, and writes 10000 to cpu.weight of the first one.",
    "Waits for nine periods in which both use 60 ms together; the second cgroup has the default weight of 100.",
    "The median of the heavy cgroup's share (usage_usec of cpu.stat) must be 90 % at least.",
    "The control has two cgroups with the default weight: the share is about 50 %.",
])
.in_cgroup(&[Limit { file: "cpu.weight", value: "10000" }])
.needs(&["CONFIG_CGROUPS", "CONFIG_FAIR_GROUP_SCHED"], 4, 15, 0);

fn weight(sandbox: &Sandbox) -> Result<Finding, Trouble> {
    let share = share_percent(sandbox.limits())?;
    let found = (share >= 90, EQUAL.contains(&share));
    decide("the heavy cgroup's share of the CPU, in percent", &share, found, "at least 90, or 12 to 85")
}
