use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::process::Command;
use std::{error, fs};

use vmlab_store::checksummed::{self, Stored};

use super::files::Kept;
use super::*;

type Outcome = Result<(), Box<dyn error::Error>>;

struct Place {
    _dir: tempfile::TempDir,
    tree: PathBuf,
    cache: PathBuf,
}

impl Place {
    fn new() -> io::Result<Self> {
        let dir = tempfile::tempdir()?;
        let (tree, cache) = (dir.path().join("tree"), dir.path().join("cache"));
        fs::create_dir_all(tree.join("kernel"))?;
        fs::write(tree.join("Makefile"), "VERSION = 6\n")?;
        fs::write(tree.join("kernel/fork.c"), "int x;\n")?;
        Ok(Self { _dir: dir, tree, cache })
    }

    fn identity(&self) -> Result<String, IdentityError> {
        of(&self.tree, &self.cache, &AtomicBool::new(false))
    }

    fn git(&self, args: &[&str]) -> Outcome {
        let mut command = Command::new("git");
        command.arg("-C").arg(&self.tree).args(["-c", "user.name=x", "-c", "user.email=x@example.org"]).args(args);
        let output = command.output()?;
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    }
}

/// Makes each of these changes, which must all give another identity.
fn changes(place: &Place) -> Outcome {
    let mut seen = vec![place.identity()?];
    let file = place.tree.join("kernel/fork.c");
    let mut differs = |what: &str| -> Outcome {
        let identity = place.identity()?;
        assert!(!seen.contains(&identity), "{what}");
        seen.push(identity);
        Ok(())
    };
    fs::write(&file, "int y;\n")?;
    differs("the same size, another text")?;
    fs::set_permissions(&file, fs::Permissions::from_mode(0o755))?;
    differs("executable")?;
    fs::write(place.tree.join("kernel/new.c"), "")?;
    differs("a new file")?;
    symlink("fork.c", place.tree.join("kernel/link.c"))?;
    differs("a new link")?;
    fs::remove_file(&file)?;
    differs("a file that went")
}

#[test]
fn each_change_of_a_tree_gives_another_identity() -> Outcome {
    changes(&Place::new()?)
}

#[test]
fn each_change_of_a_repository_gives_another_identity() -> Outcome {
    let place = Place::new()?;
    place.git(&["init", "-q"])?;
    place.git(&["add", "."])?;
    place.git(&["commit", "-q", "-m", "x"])?;
    changes(&place)
}

#[test]
fn a_commit_of_the_same_files_is_the_same_tree() -> Outcome {
    let place = Place::new()?;
    place.git(&["init", "-q"])?;
    let untracked = place.identity()?;
    place.git(&["add", "."])?;
    assert_eq!(place.identity()?, untracked, "staged");
    place.git(&["commit", "-q", "-m", "x"])?;
    assert_eq!(place.identity()?, untracked, "committed");
    let index = place.tree.join(".git/index");
    let before = fs::metadata(&index)?.modified()?;
    // Other times with the same text: git would like to write its index.
    fs::write(place.tree.join("Makefile"), "VERSION = 6\n")?;
    assert_eq!(place.identity()?, untracked);
    assert_eq!(fs::metadata(&index)?.modified()?, before, "the index was written");
    Ok(())
}

#[test]
fn changes_that_git_was_told_to_ignore_count() -> Outcome {
    for flag in ["--assume-unchanged", "--skip-worktree"] {
        let place = Place::new()?;
        place.git(&["init", "-q"])?;
        place.git(&["add", "."])?;
        place.git(&["update-index", flag, "Makefile"])?;
        let before = place.identity()?;
        fs::write(place.tree.join("Makefile"), "VERSION = 7\n")?;
        assert_ne!(place.identity()?, before, "{flag}");
    }
    Ok(())
}

#[test]
fn a_copy_is_the_same_tree() -> Outcome {
    let (one, other) = (Place::new()?, Place::new()?);
    assert_eq!(one.identity()?, other.identity()?);
    assert_eq!(one.identity()?, one.identity()?);
    Ok(())
}

#[test]
fn a_file_that_cannot_be_read_is_named() -> Outcome {
    let place = Place::new()?;
    let stopped = of(&place.tree, &place.cache, &AtomicBool::new(true));
    assert!(matches!(stopped, Err(IdentityError::Stopped)));
    let missing = of(&place.tree.join("none"), &place.cache, &AtomicBool::new(false));
    let text = missing.err().map(|error| error.to_string()).unwrap_or_default();
    assert!(text.contains("none") && text.contains("No such file"), "{text}");
    Ok(())
}

/// What is listed of the kept digests, and why it is useless, if so.
fn listed(place: &Place) -> Vec<(String, Option<String>)> {
    (TREES.list)(&place.cache).entries.into_iter().map(|entry| (entry.what, entry.useless)).collect()
}

#[test]
fn known_files_are_not_read_again() -> Outcome {
    let place = Place::new()?;
    let file = place.tree.join("Makefile");
    let old = fs::File::options().write(true).open(&file)?;
    old.set_modified(std::time::UNIX_EPOCH)?;
    // The time of the status change cannot be set: wait until the file is no longer fresh.
    std::thread::sleep(std::time::Duration::from_millis(3100));
    let identity = place.identity()?;
    let memory = fs::read_dir(place.cache.join("builds/trees"))?.next().ok_or("no memory")??.path();
    let Stored::Sound(kept) = checksummed::read::<Kept>(&memory)? else { return Err("no memory".into()) };
    assert_eq!(kept.tree, place.tree.display().to_string());
    assert_eq!(kept.files.lines().count(), 2, "{}", kept.files);
    // Only a digest that is taken from the memory can be wrong.
    let digest = kept.files.split(' ').nth(4).ok_or("no digest")?;
    checksummed::write(&memory, &Kept { files: kept.files.replace(digest, &"0".repeat(64)), ..kept.clone() })?;
    assert_ne!(place.identity()?, identity);
    assert_eq!(listed(&place), [(kept.tree.clone(), None)]);
    fs::write(&memory, "damaged")?;
    assert!(listed(&place)[0].1.is_some());
    assert_eq!(place.identity()?, identity);
    fs::remove_dir_all(&place.tree)?;
    assert_eq!(listed(&place), [(kept.tree, Some("there is no such tree any more".to_owned()))]);
    Ok(())
}

#[test]
fn the_files_of_a_large_tree_are_known() -> Outcome {
    let place = Place::new()?;
    fs::create_dir_all(&place.cache)?;
    let memory = place.cache.join("large.json");
    let line =
        "22878 1794333909000000000 1795841392007913439 10420236 ".to_owned() + &"3".repeat(64) + " drivers/x/y.c\n";
    checksummed::write(&memory, &Kept { tree: "/src".to_owned(), files: line.repeat(100_000) })?;
    assert!(matches!(checksummed::read::<Kept>(&memory)?, Stored::Sound(_)));
    Ok(())
}
