//! `vmlab selftest configs`: proves what scenarios need, on kernels that lack one feature each.

use clap::Args;
use vmlab_events::error::chain;
use vmlab_events::exit;
use vmlab_events::job::JobSpec;
use vmlab_image::guest_init;
use vmlab_kernel::config::KernelConfig;
use vmlab_kernel::order::{FragmentName, Order};
use vmlab_kernel::{FetchPolicy, How, KernelSource, fragments};
use vmlab_lab::Plan;
use vmlab_selftest::configs::{Comparison, Tried, Verdicts, compare};

use super::verdicts::collect;
use crate::{Context, Failure, kernel_arg, output, progress};

/// Prove what scenarios need: build kernels that lack one feature each, and compare the verdicts
///
/// On a kernel without a feature, exactly the scenarios that need it must be skipped, with its config symbol as the reason, and
/// all others must have the verdict that they have on the kernel with everything. Each kernel takes some minutes to build the
/// first time.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct ConfigsArgs {
    /// Fragments to prove: their names without `without-` [default: all]
    #[arg(value_name = "FEATURE")]
    features: Vec<String>,

    /// Kernel with everything
    #[arg(short, long, value_name = "KERNEL", default_value = "source:trixie+namespaces", value_parser = kernel_arg::parse)]
    kernel: KernelSource,
}

const EXAMPLES: &str = "\
Examples:
  vmlab selftest configs uts-ns                              one feature
  vmlab selftest configs -k source:bookworm+namespaces+cgroups
  vmlab selftest configs                                     all features; takes hours the first time

Exit codes:
  0 every verdict is as it must be   1 a verdict is not";

/// What takes a feature away begins so.
const WITHOUT: &str = "without-";

pub(super) async fn run(args: &ConfigsArgs, context: &Context) -> Result<u8, Failure> {
    let KernelSource::Order(whole) = &args.kernel else {
        return Err(Failure::usage(format!(
            "{} is not built from source, so no feature can be taken away",
            args.kernel
        )));
    };
    let features = features(&args.features)?;
    let (config, verdicts) = tried(whole, context).await?;
    let with = Tried { config: &config, verdicts: &verdicts };
    let catalogue = guest_init::catalogue().map_err(|error| Failure::lab(chain(&error)))?;
    let mut is_right = true;
    for name in features {
        let mut order = whole.clone();
        order.fragments.push(FragmentName::Known(name.clone()));
        let (config, verdicts) = tried(&order, context).await?;
        let comparison = compare(catalogue, with, Tried { config: &config, verdicts: &verdicts });
        is_right &= comparison.wrong.is_empty();
        output::print(&lines(&name, &comparison))?;
    }
    Ok(if is_right { exit::OK } else { exit::FAILED })
}

/// The fragments that take these features away.
fn features(named: &[String]) -> Result<Vec<String>, Failure> {
    let all: Vec<_> = fragments().map(|(name, _)| name).filter(|name| name.starts_with(WITHOUT)).collect();
    if named.is_empty() {
        return Ok(all.into_iter().map(str::to_owned).collect());
    }
    let fragment = |feature: &String| {
        let name = format!("{WITHOUT}{feature}");
        let missing = || {
            let known: Vec<_> = all.iter().filter_map(|name| name.strip_prefix(WITHOUT)).collect();
            Failure::usage(format!("no fragment takes `{feature}` away; the features are {}", known.join(", ")))
        };
        all.contains(&name.as_str()).then_some(name).ok_or_else(missing)
    };
    named.iter().map(fragment).collect()
}

/// Builds a kernel, runs all scenarios on it, and returns its config and the verdicts.
async fn tried(order: &Order, context: &Context) -> Result<(KernelConfig, Verdicts), Failure> {
    let source = KernelSource::Order(order.clone());
    let progress = progress();
    let how: How = FetchPolicy::CacheFirst.into();
    let kernel = vmlab_kernel::obtain(&source, &context.dirs, how, &progress).await?;
    let missing = || Failure::lab(format!("{source}: the config of the built kernel is not known"));
    let config = kernel.config.ok_or_else(missing)?;
    let catalogue = guest_init::catalogue().map_err(|error| Failure::lab(chain(&error)))?;
    let jobs = catalogue.iter().cloned().map(JobSpec::from).collect();
    let plan = Plan { kernels: vec![source], ..Plan::new(jobs) };
    let verdicts = collect(plan, context).await?;
    Ok((config, verdicts.into_iter().map(|((_, scenario), verdict)| (scenario, verdict)).collect()))
}

fn lines(name: &str, comparison: &Comparison) -> String {
    let Comparison { skipped, unchanged, wrong } = comparison;
    let outcome = if wrong.is_empty() { "right" } else { "WRONG" };
    let mut text = format!("{name:<28} {outcome:<6} {} skipped, {unchanged} as before", skipped.len());
    if !skipped.is_empty() {
        text.push_str(&format!(": {}", skipped.join(" ")));
    }
    text.push('\n');
    wrong.iter().for_each(|wrong| text.push_str(&format!("    {wrong}\n")));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_feature_is_named_as_its_fragment() {
        assert_eq!(features(&["uts-ns".to_owned()]).unwrap(), ["without-uts-ns"]);
        assert!(features(&[]).unwrap().len() > 5);
        let error = features(&["uts".to_owned()]).unwrap_err().to_string();
        assert!(error.contains("the features are ") && error.contains("uts-ns"), "{error}");
    }

    #[test]
    fn what_is_wrong_is_told_below_the_line() {
        let comparison =
            Comparison { skipped: vec!["uts.hostname".to_owned()], unchanged: 38, wrong: vec!["x".to_owned()] };
        assert_eq!(
            lines("without-uts-ns", &comparison),
            "without-uts-ns               WRONG  1 skipped, 38 as before: uts.hostname\n    x\n"
        );
    }
}
