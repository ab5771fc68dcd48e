//! The user's parameters on the kernel's command line: what they take away from the guest, so that a verdict can name
//! them (Documentation/admin-guide/kernel-parameters.txt of Linux 6.12 describes each).

use vmlab_protocol::message::CONSOLE_LEVEL;

/// Parameters that leave the guest less memory than its machine has.
const MEMORY: [&str; 9] =
    ["cma", "crashkernel", "hugepages", "hugetlb_cma", "kernelcore", "mem", "memmap", "movablecore", "reserve_mem"];

/// Parameters that leave the guest fewer CPUs than its machine has.
const CPUS: [&str; 7] = ["acpi", "disable_cpu_apicid", "maxcpus", "nolapic", "nosmp", "nr_cpus", "possible_cpus"];

/// The values with which a parameter switches off a feature or limits it. A value is a list of words with commas.
enum Values {
    All,
    /// Those with one of these words.
    With(&'static [&'static str]),
    /// Those without this word.
    Without(&'static str),
}

use Values::{All, With, Without};

/// Parameters that switch off a feature for which the kernel is configured: name, values, symbols.
const FEATURES: [(&str, Values, &[&str]); 16] = [
    ("cgroup_disable", With(&["cpu"]), &["CONFIG_CFS_BANDWIDTH", "CONFIG_CGROUP_SCHED"]),
    ("cgroup_disable", With(&["cpuset"]), &["CONFIG_CPUSETS"]),
    ("cgroup_disable", With(&["io", "blkio"]), &["CONFIG_BLK_CGROUP"]),
    ("cgroup_disable", With(&["memory"]), &["CONFIG_MEMCG"]),
    ("cgroup_disable", With(&["pids"]), &["CONFIG_CGROUP_PIDS"]),
    ("cgroup_disable", With(&["pressure"]), &["CONFIG_PSI"]),
    ("ipv6.disable", With(&["1"]), &["CONFIG_IPV6"]),
    ("kunit.action", All, &["CONFIG_KUNIT"]),
    ("kunit.enable", With(&["0", "n", "no", "off"]), &["CONFIG_KUNIT"]),
    ("kunit.filter", All, &["CONFIG_KUNIT"]),
    ("kunit.filter_glob", All, &["CONFIG_KUNIT"]),
    ("lsm", Without("landlock"), &["CONFIG_SECURITY_LANDLOCK"]),
    ("lsm", Without("yama"), &["CONFIG_SECURITY_YAMA"]),
    ("module_blacklist", With(&["dummy"]), &["CONFIG_DUMMY"]),
    ("psi", With(&["0", "n", "no", "off"]), &["CONFIG_PSI"]),
    ("sysctl.fs.mqueue.queues_max", All, &["CONFIG_POSIX_MQUEUE"]),
];

/// Limits of the number of namespaces (namespaces(7), The /proc/sys/user directory), and the flags of the calls that fail with
/// ENOSPC at the limit.
const NAMESPACES: [(&str, &str); 8] = [
    ("sysctl.user.max_cgroup_namespaces", "CLONE_NEWCGROUP"),
    ("sysctl.user.max_ipc_namespaces", "CLONE_NEWIPC"),
    ("sysctl.user.max_mnt_namespaces", "CLONE_NEWNS"),
    ("sysctl.user.max_net_namespaces", "CLONE_NEWNET"),
    ("sysctl.user.max_pid_namespaces", "CLONE_NEWPID"),
    ("sysctl.user.max_time_namespaces", "CLONE_NEWTIME"),
    ("sysctl.user.max_user_namespaces", "CLONE_NEWUSER"),
    ("sysctl.user.max_uts_namespaces", "CLONE_NEWUTS"),
];

/// A parameter as the kernel reads it: without quotes (lib/cmdline.c, `next_arg`), with equal hyphens and underscores in
/// its name (kernel/params.c, `parameq`), and with dots in the path of a sysctl (fs/proc/proc_sysctl.c,
/// `process_sysctl_arg`).
struct Parameter<'a> {
    text: &'a str,
    name: String,
    value: Option<String>,
}

fn parse(append: &str) -> impl Iterator<Item = Parameter<'_>> {
    append.split_whitespace().map(|text| {
        let unquoted = text.replace('"', "");
        let (name, value) = match unquoted.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (unquoted.as_str(), None),
        };
        let name = if name.starts_with("sysctl") { name.replace('/', ".") } else { name.replace('-', "_") };
        Parameter { text, name, value }
    })
}

/// The first parameter that hides kernel warnings or vmlab's markers, or removes the time stamps by which warnings are
/// found after a program's output on the same line.
#[must_use]
pub fn hiding_warnings(append: &str) -> Option<&str> {
    parse(append)
        .find(|Parameter { name, value, .. }| {
            let value = value.as_deref();
            match name.as_str() {
                "quiet" => value.is_none(),
                "loglevel" => value.is_some_and(|level| level.parse::<u32>().unwrap_or_default() < CONSOLE_LEVEL),
                // Booleans as read by kstrtobool (lib/kstrtox.c).
                "printk.time" => value.is_some_and(|on| {
                    !(on.starts_with(['y', 'Y', 't', 'T', '1']) || on.to_lowercase().starts_with("on"))
                }),
                "printk.devkmsg" => value.is_some_and(|mode| mode.starts_with("off") || mode.starts_with("ratelimit")),
                // The kernel applies sysctls just before it starts PID 1, after its own `loglevel`.
                "sysctl.kernel.printk" => true,
                _ => false,
            }
        })
        .map(|parameter| parameter.text)
}

/// The first parameter that limits the guest's memory.
#[must_use]
pub fn limiting_memory(append: &str) -> Option<&str> {
    first_of(&MEMORY, append)
}

/// The first parameter that limits the guest's CPUs.
#[must_use]
pub fn limiting_cpus(append: &str) -> Option<&str> {
    first_of(&CPUS, append)
}

fn first_of<'a>(names: &[&str], append: &'a str) -> Option<&'a str> {
    parse(append).find(|parameter| names.contains(&parameter.name.as_str())).map(|parameter| parameter.text)
}

/// The first parameter with a limit that a call has reached, as its error says, and the call's flag.
#[must_use]
pub fn limiting_namespaces<'a>(append: &'a str, error: &str) -> Option<(&'a str, &'static str)> {
    if !error.contains("ENOSPC") {
        return None;
    }
    parse(append).find_map(|Parameter { text, name, .. }| {
        let (_, flag) = NAMESPACES.iter().find(|(limit, flag)| *limit == name && error.contains(flag))?;
        Some((text, *flag))
    })
}

/// Whether a parameter of this name is there.
#[must_use]
pub fn names(append: &str, name: &str) -> bool {
    parse(append).any(|parameter| parameter.name == name)
}

/// The first parameter that switches off a feature of one of these config symbols, and the symbol.
#[must_use]
pub fn disabling<'a, 'b>(append: &'a str, symbols: &'b [String]) -> Option<(&'a str, &'b str)> {
    parse(append).find_map(|Parameter { text, name, value }| {
        let values: Vec<_> = value.as_deref().unwrap_or_default().split(',').collect();
        let applies = |(parameter, off, _): &&(&str, Values, &[&str])| {
            let is_off = match off {
                All => true,
                With(words) => words.iter().any(|word| values.contains(word)),
                Without(word) => !values.contains(word),
            };
            *parameter == name && is_off
        };
        let mut off = FEATURES.iter().filter(applies).flat_map(|(_, _, symbols)| *symbols);
        let symbol = off.find_map(|off| symbols.iter().find(|symbol| symbol == off))?;
        Some((text, symbol.as_str()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_that_hide_warnings_are_found_and_others_are_not() {
        for words in [
            "quiet",
            "a quiet",
            "loglevel=4",
            "loglevel=0x7 a",
            "loglevel=",
            "\"quiet\"",
            "loglevel=\"3\"",
            "printk.time=off",
            "printk.devkmsg=off",
            "printk.devkmsg=ratelimit",
            "sysctl.kernel.printk=0",
            "sysctl.kernel/printk=7",
            "\"sysctl.kernel.printk=7 4 1 7\"",
        ] {
            assert!(hiding_warnings(words).is_some(), "{words}");
        }
        for words in [
            "",
            "loglevel=5",
            "loglevel=8 debug",
            "quietly",
            "fsck.quiet=1",
            "ignore_loglevel",
            "printk.time=on printk.time",
            "printk.devkmsg=on",
            "sysctl.kernel.printk_delay=1",
            "sysctl.kernel.panic=1",
        ] {
            assert_eq!(hiding_warnings(words), None);
        }
        assert_eq!(hiding_warnings("a sysctl.kernel.printk=0 quiet"), Some("sysctl.kernel.printk=0"));
    }

    #[test]
    fn parameters_that_limit_memory_are_found_and_others_are_not() {
        for (append, found) in [
            ("nokaslr mem=64M", Some("mem=64M")),
            ("memmap=200M$16M", Some("memmap=200M$16M")),
            ("crashkernel=200M mem=1G", Some("crashkernel=200M")),
            ("hugetlb-cma=1G", Some("hugetlb-cma=1G")),
            ("\"hugepages=100\"", Some("\"hugepages=100\"")),
            ("memtest=1 mem_sleep_default=deep slub_debug", None),
        ] {
            assert_eq!(limiting_memory(append), found);
        }
    }

    #[test]
    fn parameters_that_limit_cpus_are_found_and_others_are_not() {
        for (append, found) in [
            ("nosmp", Some("nosmp")),
            ("a maxcpus=1", Some("maxcpus=1")),
            ("nr-cpus=1", Some("nr-cpus=1")),
            ("acpi=off", Some("acpi=off")),
            ("isolcpus=1 nohz_full=1", None),
        ] {
            assert_eq!(limiting_cpus(append), found);
        }
    }

    #[test]
    fn parameters_that_switch_a_feature_off_are_found_with_its_symbol() {
        let symbols = |names: &[&str]| names.iter().map(|name| format!("CONFIG_{name}")).collect::<Vec<_>>();
        for (append, wanted, found) in [
            ("cgroup_disable=memory", "MEMCG", Some("cgroup_disable=memory")),
            ("a cgroup_disable=pids,cpu", "CFS_BANDWIDTH", Some("cgroup_disable=pids,cpu")),
            ("cgroup_disable=cpuset cgroup-disable=cpu", "CFS_BANDWIDTH", Some("cgroup-disable=cpu")),
            ("psi=0", "PSI", Some("psi=0")),
            ("ipv6.disable=1", "IPV6", Some("ipv6.disable=1")),
            ("module_blacklist=a,dummy", "DUMMY", Some("module_blacklist=a,dummy")),
            ("lsm=lockdown,landlock", "SECURITY_YAMA", Some("lsm=lockdown,landlock")),
            ("lsm=", "SECURITY_LANDLOCK", Some("lsm=")),
            ("lsm=lockdown,yama", "SECURITY_YAMA", None),
            ("cgroup_disable=memory", "CGROUP_PIDS", None),
            ("cgroup_disable=memory_recursiveprot", "MEMCG", None),
            ("cgroup_no_v1=memory", "MEMCG", None),
            ("psi=1", "PSI", None),
            ("memory", "MEMCG", None),
        ] {
            let symbols = symbols(&["CGROUPS_OF_ANOTHER_NAME", wanted]);
            let expected = found.map(|parameter| (parameter, symbols[1].as_str()));
            assert_eq!(disabling(append, &symbols), expected, "{append}");
        }
    }

    #[test]
    fn a_limit_of_namespaces_explains_only_calls_that_have_reached_it() {
        let append = "sysctl.user/max_mnt_namespaces=0 sysctl.user.max_pid_namespaces=500";
        let of = |error| limiting_namespaces(append, error);
        assert_eq!(of("unshare(CLONE_NEWNS): ENOSPC"), Some(("sysctl.user/max_mnt_namespaces=0", "CLONE_NEWNS")));
        assert_eq!(of("unshare(CLONE_NEWPID): ENOSPC"), Some(("sysctl.user.max_pid_namespaces=500", "CLONE_NEWPID")));
        for other in ["unshare(CLONE_NEWUSER): ENOSPC", "unshare(CLONE_NEWNS): EPERM", "write: ENOSPC"] {
            assert_eq!(of(other), None, "{other}");
        }
    }
}
