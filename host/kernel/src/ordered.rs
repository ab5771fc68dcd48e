//! Kernels built from source.

use std::path::Path;

use futures_util::future::LocalBoxFuture;
use vmlab_build::config::KernelConfig;
use vmlab_build::merge::Merged;
use vmlab_build::order::{Code, Order};
use vmlab_build::store::Built;
use vmlab_build::{Request, obtain as build};
use vmlab_events::progress::Progress;
use vmlab_store::dirs::Dirs;

use crate::debian::System;
use crate::debian::code::{self, SourceCode};
use crate::{FetchPolicy, How, KernelError, needs};

/// Takes an ordered kernel from the cache or builds it.
///
/// # Errors
/// The source cannot be fetched, or the kernel cannot be built.
pub(crate) async fn obtain(
    order: &Order,
    dirs: &Dirs,
    how: How,
    progress: &dyn Progress,
) -> Result<Built, KernelError> {
    let label = order.to_string();
    let source = source(order, dirs, how, progress).await?;
    let refusal = |config: &KernelConfig| needs::refusal(&label, config).map(|reason| reason.to_string());
    let request = Request { refusal: &refusal, ..request(&label, order, &source, dirs, how, progress) };
    build(request).await?.ok_or(KernelError::NotBuilt { label })
}

/// The config that an ordered kernel gets, and what was asked for. Configures and checks it, but does not compile.
///
/// # Errors
/// As [`crate::obtain`].
pub fn config<'a>(
    order: &'a Order,
    dirs: &'a Dirs,
    progress: &'a dyn Progress,
) -> LocalBoxFuture<'a, Result<(KernelConfig, Merged), KernelError>> {
    Box::pin(async move {
        let source = source(order, dirs, FetchPolicy::CacheFirst.into(), progress).await?;
        let label = order.to_string();
        Ok(vmlab_build::config_of(request(&label, order, &source, dirs, FetchPolicy::CacheFirst.into(), progress))
            .await?)
    })
}

fn request<'a>(
    label: &'a str,
    order: &'a Order,
    source: &'a Source<'_>,
    dirs: &'a Dirs,
    how: How,
    progress: &'a dyn Progress,
) -> Request<'a> {
    Request {
        label,
        tree: source.tree(),
        identity: source.identity(),
        fragments: &order.fragments,
        cache: &dirs.cache,
        jobs: how.jobs,
        may_build: how.build,
        refusal: &|_| None,
        progress,
    }
}

/// The source code of an order.
#[derive(Debug)]
pub(crate) enum Source<'a> {
    /// A tree of the user.
    Tree(&'a Path),
    /// A package.
    Package(SourceCode),
}

impl Source<'_> {
    /// The path of the tree.
    pub(crate) fn tree(&self) -> &Path {
        match self {
            Self::Tree(tree) => tree,
            Self::Package(code) => &code.tree,
        }
    }

    /// What identifies a package's files, which never change.
    fn identity(&self) -> Option<&str> {
        match self {
            Self::Tree(_) => None,
            Self::Package(code) => Some(&code.identity),
        }
    }
}

/// Finds or fetches the source code of an order.
pub(crate) async fn source<'a>(
    order: &'a Order,
    dirs: &Dirs,
    how: How,
    progress: &dyn Progress,
) -> Result<Source<'a>, KernelError> {
    Ok(match &order.code {
        Code::Tree(tree) => Source::Tree(tree),
        Code::Suite(suite) => {
            let code = code::obtain(suite, dirs, how.fetch, progress, &System::from_env()).await;
            progress.done();
            Source::Package(code?)
        }
    })
}
