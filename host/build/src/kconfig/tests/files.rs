use super::*;

#[test]
fn sourced_files_are_read_where_they_are_sourced() {
    let tree = TempDir::new().unwrap();
    write(
        tree.path(),
        "Kconfig",
        "mainmenu \"Linux/$(ARCH)\"\nif A\nsource \"arch/$(SRCARCH)/Kconfig\"\nendif # A\nsource \"lib/Kconfig\"\n",
    );
    write(
        tree.path(),
        "arch/x86/Kconfig",
        "config X\n\tbool \"x\"\n\thelp\n\t  This line names a\n\t  source tree/that/does/not/exist\n\t  source \"nor/this\"\n",
    );
    write(tree.path(), "lib/Kconfig", "config A\n\tbool \"open source\"\n");
    let kconfig = Kconfig::read(tree.path()).unwrap();
    assert!(kconfig.has("CONFIG_A"));
    assert_eq!(
        kconfig.why("CONFIG_X", "y", &KernelConfig::parse(""), &Merged::default()).to_string(),
        "it depends on CONFIG_A, which is n (ask for it, too)"
    );
}

#[test]
fn trees_without_kconfig_and_broken_files_are_named() {
    let tree = TempDir::new().unwrap();
    assert!(matches!(Kconfig::read(tree.path()), Err(KconfigError::NoKconfig { .. })));
    write(tree.path(), "Kconfig", "config A\n\tbool \"a\"\n\nsource \"lib/Kconfig\"\n");
    let error = Kconfig::read(tree.path()).unwrap_err().to_string();
    assert!(
        error.starts_with("cannot read the Kconfig file lib/Kconfig (sourced by Kconfig:4): No such file"),
        "{error}"
    );
    write(tree.path(), "lib/Kconfig", "config B\n\tbool \"b\"\n\n# comment\n<<<<<<< HEAD\nconfig C\n\tbool\n");
    let error = Kconfig::read(tree.path()).unwrap_err().to_string();
    assert_eq!(
        error,
        "cannot read lib/Kconfig from line 5 on: \"<<<<<<< HEAD\" is no statement of Kconfig, or a block has no end"
    );
    fs::remove_file(tree.path().join("lib/Kconfig")).unwrap();
    fs::create_dir(tree.path().join("lib/Kconfig")).unwrap();
    assert!(Kconfig::read(tree.path()).unwrap_err().to_string().contains("it is no regular file"));
}

#[test]
fn unfinished_blocks_are_errors_with_a_line() {
    let said = |text: &str| read(text).unwrap_err().to_string();
    assert_eq!(
        said("if A\nconfig B\n\tbool\n"),
        "cannot read Kconfig from line 1 on: \"if A\" is no statement of Kconfig, or a block has no end"
    );
    assert_eq!(
        said("config B\n\tbool\nmenu \"m\"\nconfig C\n\tbool\n"),
        "cannot read Kconfig from line 6 on: the end of the file is no statement of Kconfig, or a block has no end"
    );
}

#[test]
fn files_that_source_themselves_are_refused() {
    let error = read("config A\n\tbool\nsource \"Kconfig\"\n").unwrap_err().to_string();
    assert_eq!(
        error,
        "Kconfig (sourced by Kconfig:3) is no usable Kconfig file: files source each other more than 50 deep, perhaps in a circle"
    );
    // Not on a line of its own: no statement, and nothing that nom-kconfig may open.
    let tree = TempDir::new().unwrap();
    let itself = tree.path().join("Kconfig");
    write(tree.path(), "Kconfig", &format!("if A source \"{}\" endif\n", itself.display()));
    assert!(matches!(Kconfig::read(tree.path()), Err(KconfigError::Syntax { .. })));
    // 2^50 reads without a bound on their number.
    for level in 0..45 {
        write(tree.path(), &format!("K{level}"), &format!("source \"K{0}\"\nsource \"K{0}\"\n", level + 1));
    }
    write(tree.path(), "K45", "");
    write(tree.path(), "Kconfig", "source \"K0\"\n");
    let error = Kconfig::read(tree.path()).unwrap_err().to_string();
    assert!(error.ends_with("more than 20,000 files are sourced"), "{error}");
}

#[test]
fn deep_nesting_overflows_no_stack() {
    for opener in ["if A\n", "menu \"m\"\n", "choice\n", "if A if A "] {
        assert!(matches!(read(&opener.repeat(2_450)), Err(KconfigError::Syntax { .. })), "{opener}");
    }
    let blocks = format!("{}config X\n\tbool \"x\"\n{}", "if A\n".repeat(2_450), "endif\n".repeat(2_450));
    assert_eq!(why(&blocks, "y", ""), "it depends on CONFIG_A, which does not exist for x86");
    let (open, close) = ("(".repeat(4_950), ")".repeat(4_950));
    let parentheses = format!("config X\n\tbool \"x\"\n\tdepends on {open}A{close}\n");
    assert_eq!(why(&parentheses, "y", ""), "it depends on CONFIG_A, which does not exist for x86");
    assert!(matches!(read(&format!("config X\n\tdepends on {open}A\n")), Err(KconfigError::Syntax { .. })));
}

#[test]
fn files_beyond_the_limits_are_refused() {
    let said = |text: &str| read(text).unwrap_err().to_string();
    assert_eq!(
        said(&"if A\n".repeat(5_001)),
        "Kconfig (sourced by vmlab) is no usable Kconfig file: more than 5,000 blocks and parentheses begin in it"
    );
    assert_eq!(
        said(&"# \n".repeat(2 << 20)),
        "Kconfig (sourced by vmlab) is no usable Kconfig file: it has more than 4 MiB"
    );
}

#[test]
fn bytes_that_are_no_utf_8_are_read() {
    let tree = TempDir::new().unwrap();
    fs::write(tree.path().join("Kconfig"), b"config X\n\tbool \"caf\xe9\" if A\n\thelp\n\t  \xff\xfe\n").unwrap();
    let kconfig = Kconfig::read(tree.path()).unwrap();
    assert_eq!(
        kconfig.why("CONFIG_X", "y", &KernelConfig::parse(""), &Merged::default()).to_string(),
        "it can be set only with CONFIG_A, which does not exist for x86"
    );
}
