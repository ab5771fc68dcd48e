use super::*;

#[test]
fn one_unmet_dependency_is_named() {
    let said = why_with_abcd("config X\n\tbool \"x\"\n\tdepends on A\n", "y", "");
    assert_eq!(said, "it depends on CONFIG_A, which is n (ask for it, too)");
    let said = why_with_abcd("config X\n\ttristate \"x\"\n\tdepends on A\n", "y", "CONFIG_MODULES=y\nCONFIG_A=m\n");
    assert_eq!(said, "it depends on CONFIG_A, which is m (ask for y)");
}

#[test]
fn only_unmet_parts_of_a_conjunction_are_named() {
    let x = "config X\n\tbool \"x\"\n\tdepends on A && B && \\\n\t\tC\n\tdepends on D\n";
    assert_eq!(
        why_with_abcd(x, "y", "CONFIG_A=y\nCONFIG_C=y\n"),
        "it depends on CONFIG_B, which is n (ask for it, too); it also depends on CONFIG_D, which is n (ask for it, too)"
    );
}

#[test]
fn alternatives_are_named_together() {
    let two = "config X\n\tbool \"x\"\n\tdepends on A || B\n";
    assert_eq!(why_with_abcd(two, "y", ""), "it depends on CONFIG_A || CONFIG_B, and both are n");
    let three = "config X\n\tbool \"x\"\n\tdepends on A || (B || C)\n";
    assert_eq!(why_with_abcd(three, "y", ""), "it depends on CONFIG_A || CONFIG_B || CONFIG_C, none of which is set");
    let mixed = "config X\n\tbool \"x\"\n\tdepends on A && B || !C && D\n";
    assert_eq!(
        why_with_abcd(mixed, "y", ""),
        "it depends on (CONFIG_A && CONFIG_B) || (!CONFIG_C && CONFIG_D), which does not hold"
    );
    let tristate = "config X\n\ttristate \"x\"\n\tdepends on A || B\n";
    assert_eq!(
        why_with_abcd(tristate, "y", "CONFIG_MODULES=y\nCONFIG_A=m\n"),
        "it depends on CONFIG_A || CONFIG_B, none of which is y"
    );
}

#[test]
fn alternatives_of_other_architectures_are_left_out() {
    let x = "config X\n\tbool \"x\"\n\tdepends on ARM64 || (PPC && A) || B && C\n";
    assert_eq!(why_with_abcd(x, "y", "CONFIG_C=y\n"), "it depends on CONFIG_B, which is n (ask for it, too)");
    let none = "config X\n\tbool \"x\"\n\tdepends on ARM64 || PPC\n";
    assert_eq!(why_with_abcd(none, "y", ""), "it depends on CONFIG_ARM64 || CONFIG_PPC, and neither can be had on x86");
    let one = "config X\n\tbool \"x\"\n\tdepends on ARM64\n";
    assert_eq!(why_with_abcd(one, "y", ""), "it depends on CONFIG_ARM64, which does not exist for x86");
    // Declared, but nothing on x86 sets it.
    let unset = "config HAVE_X\n\tbool\nconfig X\n\tbool \"x\"\n\tdepends on HAVE_X || A\n";
    assert_eq!(why_with_abcd(unset, "y", ""), "it depends on CONFIG_A, which is n (ask for it, too)");
}

#[test]
fn negated_conditions_name_what_is_set() {
    let x = "config X\n\tbool \"x\"\n\tdepends on !A\n";
    assert_eq!(why_with_abcd(x, "y", "CONFIG_A=y\n"), "it needs CONFIG_A to be n, and that is y");
    let selected = format!("config S\n\tbool \"s\"\n\tselect A\n{x}");
    assert_eq!(
        why_with_abcd(&selected, "y", "CONFIG_A=y\nCONFIG_S=y\n"),
        "it needs CONFIG_A to be n, and that is y (CONFIG_S selects it)"
    );
    let group = "config X\n\tbool \"x\"\n\tdepends on !(A || B)\n";
    assert_eq!(why_with_abcd(group, "y", "CONFIG_B=y\n"), "it needs CONFIG_B to be n, and that is y");
    // !m is m: enough for bool, not enough for a tristate that is to be y.
    let tristate = "config X\n\ttristate \"x\"\n\tdepends on !A\n";
    assert_eq!(
        why_with_abcd(tristate, "y", "CONFIG_MODULES=y\nCONFIG_A=m\n"),
        "it needs CONFIG_A to be n, and that is m"
    );
}

#[test]
fn comparisons_are_named_with_values() {
    let cpus = "config NR_CPUS\n\tint \"cpus\"\nconfig ARCH_NAME\n\tstring\n\tdefault \"x86\"\n";
    let said = |condition: &str, config: &str| {
        why_with_abcd(&format!("{cpus}config X\n\tbool \"x\"\n\tdepends on {condition}\n"), "y", config)
    };
    assert_eq!(
        said("NR_CPUS >= 20", "CONFIG_NR_CPUS=3\n"),
        "it depends on CONFIG_NR_CPUS >= 20, and CONFIG_NR_CPUS is 3"
    );
    assert_eq!(said("A = y", "CONFIG_A=m\n"), "it depends on CONFIG_A = y, and CONFIG_A is m");
    assert_eq!(said("A != n", ""), "it depends on CONFIG_A != n, and CONFIG_A is n");
    assert_eq!(said("!(A=n)", ""), "it depends on CONFIG_A != n, and CONFIG_A is n");
    assert_eq!(said("A >= m", ""), "it depends on CONFIG_A >= m, and CONFIG_A is n");
    assert_eq!(said("A=B", "CONFIG_B=y\n"), "it depends on CONFIG_A = CONFIG_B, and CONFIG_A is n, and CONFIG_B is y");
    assert_eq!(
        said("ARCH_NAME = \"arm 64\"", "CONFIG_ARCH_NAME=\"x86\"\n"),
        "it depends on CONFIG_ARCH_NAME = \"arm 64\", and CONFIG_ARCH_NAME is x86"
    );
    assert_eq!(said("ARCH_NAME != \"\"", ""), "it depends on CONFIG_ARCH_NAME != \"\", and CONFIG_ARCH_NAME is empty");
    let free = "another line or a default sets it otherwise: all that it depends on is met";
    assert_eq!(said("NR_CPUS < 20 && \"$(ARCH)\" = \"x86\"", "CONFIG_NR_CPUS=3\n"), free);
}

#[test]
fn a_chain_of_dependencies_is_followed_to_its_end() {
    let chain = "config P\n\tbool \"p\"\n\tdepends on A\nconfig Q\n\tbool \"q\"\n\tdepends on P\n";
    let x = |on: &str| format!("{chain}config X\n\tbool \"x\"\n\tdepends on {on}\n");
    assert_eq!(
        why_with_abcd(&x("P"), "y", ""),
        "it depends on CONFIG_P, which is n and itself depends on CONFIG_A, which is n (ask for both, too)"
    );
    assert_eq!(
        why_with_abcd(&x("Q"), "y", ""),
        "it depends on CONFIG_Q, which is n and itself depends on CONFIG_P, which is n and itself depends on CONFIG_A, \
         which is n (ask for all 3, too)"
    );
    assert_eq!(
        why_with_abcd(&x("Q && B"), "y", ""),
        "it depends on CONFIG_Q, which is n (ask for it and for what it depends on); it also depends on CONFIG_B, which is \
         n (ask for it, too)"
    );
    assert_eq!(
        why_with_abcd(&x("P && A"), "y", ""),
        "it depends on CONFIG_P, which is n (ask for it, too); it also depends on CONFIG_A, which is n (ask for it, too)"
    );
}

#[test]
fn what_is_asked_for_already_is_not_to_be_asked_for() {
    let x = "config A\n\tbool \"a\"\nconfig P\n\tbool \"p\"\n\tdepends on A\nconfig X\n\tbool \"x\"\n\tdepends on P\n";
    let said = |requests: &str| why_among(x, "y", "", requests);
    assert_eq!(
        said("CONFIG_P=y\n"),
        "it depends on CONFIG_P, which is n and itself depends on CONFIG_A, which is n (ask for it, too)"
    );
    assert_eq!(
        said("CONFIG_P=y\nCONFIG_A=n\n"),
        "it depends on CONFIG_P, which is n and itself depends on CONFIG_A, which is n as my.config:2 asks"
    );
    assert_eq!(
        said("CONFIG_A=y\n"),
        "it depends on CONFIG_P, which is n and itself depends on CONFIG_A, which is n (asked for by my.config:1, in vain)"
    );
}

#[test]
fn only_symbols_with_prompts_are_to_be_asked_for() {
    let x = "config P\n\tdef_bool y\n\tdepends on A\nconfig X\n\tbool \"x\"\n\tdepends on P\n";
    assert_eq!(
        why_with_abcd(x, "y", ""),
        "it depends on CONFIG_P, which is n and itself depends on CONFIG_A, which is n (ask for it, too)"
    );
}

#[test]
fn symbols_that_depend_on_each_other_end_the_chain() {
    let x = "config X\n\tbool \"x\"\n\tdepends on P\nconfig P\n\tbool \"p\"\n\tdepends on X\n";
    assert!(
        why(x, "y", "").starts_with("it depends on CONFIG_P, which is n and itself depends on CONFIG_X, which is n")
    );
}

#[test]
fn a_symbol_without_prompt_names_who_sets_it() {
    let select = |name: &str| format!("config {name}\n\tbool \"{name}\"\n\tselect X\n");
    let selectors =
        |count: usize| ["P", "Q", "R", "S", "T"][..count].iter().map(|name| select(name)).collect::<String>();
    let said = |count| why(&format!("config X\n\tbool\n{}", selectors(count)), "y", "");
    assert_eq!(said(1), "it has no prompt; it is set by CONFIG_P");
    assert_eq!(said(3), "it has no prompt; it is set by CONFIG_P, CONFIG_Q or CONFIG_R");
    assert_eq!(said(5), "it has no prompt; it is set by CONFIG_P, CONFIG_Q, CONFIG_R or 2 others");
    assert_eq!(said(0), "it has no prompt, and nothing sets it");
    // Those that can be asked for come first, and a `select` of a set symbol comes with its condition.
    let ranked = "config X\n\tbool\nconfig P\n\tbool\n\tselect X\nconfig Q\n\tbool \"q\"\n\tselect X if A || B\n";
    assert_eq!(
        why_with_abcd(ranked, "y", "CONFIG_Q=y\n"),
        "it has no prompt; it is set by CONFIG_Q if CONFIG_A || CONFIG_B or CONFIG_P"
    );
}

#[test]
fn an_unmet_dependency_without_prompt_names_who_sets_it() {
    let x = "config H\n\tbool\nconfig P\n\tbool \"p\"\n\tselect H\nconfig X\n\tbool \"x\"\n\tdepends on H\n";
    assert_eq!(why(x, "y", ""), "it depends on CONFIG_H, which is n (it has no prompt; it is set by CONFIG_P)");
    let never = "config H\n\tbool\nconfig X\n\tbool \"x\"\n\tdepends on H\n";
    assert_eq!(why(never, "y", ""), "it depends on CONFIG_H, which is n (nothing sets it)");
}

#[test]
fn a_default_names_what_it_needs() {
    assert_eq!(
        why_with_abcd("config X\n\tdef_bool A\n", "y", ""),
        "it has no prompt, and its default needs CONFIG_A, which is n (ask for it, too)"
    );
    assert_eq!(
        why_with_abcd("config X\n\tbool\n\tdefault n if B\n\tdefault y if A\n\tdepends on C\n", "y", "CONFIG_A=y\n"),
        "it depends on CONFIG_C, which is n (ask for it, too)"
    );
    assert_eq!(
        why_with_abcd("config X\n\tdef_bool y\n", "n", "CONFIG_X=y\n"),
        "it has no prompt: its default gives it another value"
    );
}

#[test]
fn a_chain_that_branches_ends_with_all_conditions() {
    let x = "config P\n\tdef_bool y\n\tdepends on A && !B && (C || D)\nconfig X\n\tbool \"x\"\n\tdepends on P\n";
    assert_eq!(
        why_with_abcd(x, "y", "CONFIG_B=y\n"),
        "it depends on CONFIG_P, which is n and has unmet dependencies of its own: CONFIG_A, !CONFIG_B and CONFIG_C || \
         CONFIG_D"
    );
}

#[test]
fn an_implied_symbol_names_its_unmet_dependency() {
    let x = "config X\n\tbool\n\tdepends on A\nconfig P\n\tbool \"p\"\n\timply X\n";
    assert_eq!(why_with_abcd(x, "y", "CONFIG_P=y\n"), "it depends on CONFIG_A, which is n (ask for it, too)");
    assert_eq!(why_with_abcd(x, "y", ""), "it has no prompt; it is set by CONFIG_P");
}

#[test]
fn macros_are_named_with_what_decides_them() {
    let x = "config CC_HAS_FX\n\tdef_bool $(cc-option,-fX -fY)\nconfig X\n\tbool \"x\"\n\tdepends on CC_HAS_FX\n";
    assert_eq!(
        why(x, "y", ""),
        "it depends on CONFIG_CC_HAS_FX, which is n and has no prompt, but a default that needs $(cc-option,-fX -fY), which \
         is decided by the compiler"
    );
    let said = |condition: &str| why(&format!("config X\n\tbool \"x\"\n\tdepends on {condition}\n"), "y", "");
    assert_eq!(said("$(cc-option,-fX)"), "it depends on $(cc-option,-fX), which is decided by the compiler");
    assert_eq!(said("!$(ld-option,-x)"), "it depends on !$(ld-option,-x), which is decided by the linker");
    assert_eq!(
        said("$(as-instr,nop) || A"),
        "it depends on $(as-instr,nop) || CONFIG_A, which is decided by the assembler"
    );
    assert_eq!(
        said("$(success,true)"),
        "it depends on $(success,true), which is decided by a command that the kernel's configuration runs"
    );
    // What surely does not hold is named alone.
    assert_eq!(
        why_with_abcd("config X\n\tbool \"x\"\n\tdepends on $(cc-option,-fX) && A\n", "y", ""),
        "it depends on CONFIG_A, which is n (ask for it, too)"
    );
}

#[test]
fn the_condition_of_a_prompt_is_named() {
    let x = "config X\n\tbool \"x\" if A\n";
    assert_eq!(why_with_abcd(x, "y", ""), "it can be set only with CONFIG_A, which is n (ask for it, too)");
    let later = "config X\n\tbool\n\tprompt \"x\" if !A\n\tdefault y\n";
    assert_eq!(
        why_with_abcd(later, "n", "CONFIG_A=y\nCONFIG_X=y\n"),
        "it can be set only with CONFIG_A = n, and that is y"
    );
}

/// nom-kconfig 0.13 reads both lines wrongly: `lower::prompt` mends it.
#[test]
fn prompts_with_backticks_and_types_with_comments_are_read() {
    let backticks = "config X\n\tbool \"the `kernel` crate\" if A\n";
    assert_eq!(why_with_abcd(backticks, "y", ""), "it can be set only with CONFIG_A, which is n (ask for it, too)");
    assert_eq!(why("config X\n\tbool # a reason\n", "y", ""), "it has no prompt, and nothing sets it");
}

#[test]
fn a_selected_symbol_cannot_be_cleared() {
    let x =
        "config X\n\ttristate \"x\"\nconfig P\n\ttristate \"p\"\n\tselect X\nconfig Q\n\tbool \"q\"\n\tselect X if P\n";
    assert_eq!(why(x, "n", "CONFIG_X=y\nCONFIG_P=y\n"), "CONFIG_P, which is y, selects it");
    assert_eq!(why(x, "n", "CONFIG_X=y\nCONFIG_P=y\nCONFIG_Q=y\n"), "CONFIG_P and CONFIG_Q, which are set, select it");
    let modules = format!("config MODULES\n\tbool \"modules\"\n{x}");
    assert_eq!(why(&modules, "m", "CONFIG_MODULES=y\nCONFIG_X=y\nCONFIG_P=y\n"), "CONFIG_P, which is y, selects it");
}

#[test]
fn values_of_another_type_are_refused() {
    let said = |kind: &str, asked: &str| why(&format!("config X\n\t{kind} \"x\"\n"), asked, "");
    assert_eq!(said("bool", "m"), "it takes y or n, not m");
    assert_eq!(said("bool", "5"), "it takes y or n, not 5");
    assert_eq!(said("tristate", "yes"), "it takes y, m or n, not yes");
    assert_eq!(said("int", "y"), "it takes a decimal number, not y");
    assert_eq!(said("int", "0x10"), "it takes a decimal number, not 0x10");
    assert_eq!(said("hex", "many"), "it takes a hexadecimal number such as 0x10, not many");
    assert_eq!(said("string", "text"), "it takes a text in double quotes, not text");
    assert_eq!(said("tristate", "m"), "this kernel has no modules (CONFIG_MODULES is n): ask for y");
}

#[test]
fn numbers_out_of_range_name_the_range() {
    let x = "config X\n\tint \"x\"\n\trange 2 8 if A\n\trange 2 LIMIT\nconfig LIMIT\n\tint\n\tdefault 512\n";
    let limit = "CONFIG_LIMIT=512\n";
    assert_eq!(why_with_abcd(x, "600", limit), "its value must be from 2 to 512");
    assert_eq!(why_with_abcd(x, "9", &format!("{limit}CONFIG_A=y\n")), "its value must be from 2 to 8");
    let hex = "config X\n\thex \"x\"\n\trange 0x10 0x20\n\tdepends on A\n";
    assert_eq!(why_with_abcd(hex, "0x21", "CONFIG_A=y\n"), "its value must be from 0x10 to 0x20");
    assert_eq!(why_with_abcd(hex, "0x21", ""), "it depends on CONFIG_A, which is n (ask for it, too)");
    assert_eq!(
        why("config X\n\tstring\n\tdefault \"a\"\n", "\"b\"", "CONFIG_X=\"a\"\n"),
        "it has no prompt: its default gives it another value"
    );
}

#[test]
fn another_member_of_the_choice_is_named() {
    let choice = "choice\n\tprompt \"c\" if A\n\tdepends on B\n\tdefault Y1\n\nconfig X\n\tbool \"x\"\n\nconfig Y1\n\tbool \"y1\"\n\nconfig Y2\n\tbool \"y2\"\n\nendchoice\n";
    let met = "CONFIG_A=y\nCONFIG_B=y\n";
    assert_eq!(why_with_abcd(choice, "y", &format!("{met}CONFIG_Y1=y\n")), "CONFIG_Y1 of the same choice is y");
    assert_eq!(
        why_with_abcd(choice, "n", &format!("{met}CONFIG_X=y\n")),
        "one symbol of its choice must be y: ask for CONFIG_Y1 or CONFIG_Y2 instead"
    );
    assert_eq!(why_with_abcd(choice, "y", "CONFIG_A=y\n"), "it depends on CONFIG_B, which is n (ask for it, too)");
    assert_eq!(why_with_abcd(choice, "y", "CONFIG_B=y\n"), "it depends on CONFIG_A, which is n (ask for it, too)");
}

#[test]
fn conditions_of_enclosing_blocks_count() {
    let x = "if A\nmenu \"m\"\n\tdepends on B\n\tvisible if C\nconfig X\n\tbool \"x\"\nendmenu\nendif\n";
    assert_eq!(
        why_with_abcd(x, "y", "CONFIG_B=y\nCONFIG_C=y\n"),
        "it depends on CONFIG_A, which is n (ask for it, too)"
    );
    assert_eq!(
        why_with_abcd(x, "y", "CONFIG_A=y\nCONFIG_C=y\n"),
        "it depends on CONFIG_B, which is n (ask for it, too)"
    );
    assert_eq!(
        why_with_abcd(x, "y", "CONFIG_A=y\nCONFIG_B=y\n"),
        "its menu is visible only with CONFIG_C, which is n (ask for it, too)"
    );
    let after =
        format!("{x}config Z\n\tbool \"z\"\n").replace("config X\n", "config W\n").replace("config Z\n", "config X\n");
    assert!(why_with_abcd(&after, "y", "").starts_with("another line"), "a block ends");
}

#[test]
fn any_declaration_whose_conditions_hold_counts() {
    let x = "config X\n\tbool \"x\"\n\tdepends on A && B\nconfig X\n\tbool \"x\"\n\tdepends on C\nconfig X\n\tbool\n";
    assert_eq!(why_with_abcd(x, "y", ""), "it depends on CONFIG_C, which is n (ask for it, too)");
    assert_eq!(why_with_abcd(x, "y", "CONFIG_A=y\n"), "it depends on CONFIG_B, which is n (ask for it, too)");
    assert!(why_with_abcd(x, "y", "CONFIG_C=y\n").starts_with("another line"));
}

#[test]
fn conditional_dependencies_and_modules_are_understood() {
    let x = "config X\n\tbool \"x\"\n\tdepends on A if B\n\ttransitional\n";
    assert!(why_with_abcd(x, "y", "").starts_with("another line"));
    assert_eq!(why_with_abcd(x, "y", "CONFIG_B=y\n"), "it depends on CONFIG_A || !CONFIG_B, which does not hold");
    let modular = "config X\n\ttristate \"x\"\n\tdepends on m\n";
    assert_eq!(why_with_abcd(modular, "m", ""), "it depends on modules, and CONFIG_MODULES is n");
}

#[test]
fn unknown_symbols_get_the_nearest_names() {
    let names =
        ["USER_NS", "UTS_NS", "USER_NSX", "KASAN"].map(|name| format!("config {name}\n\tbool \"p\"\n")).concat();
    let kconfig = read(&names).unwrap();
    let config = KernelConfig::parse("");
    let said = |symbol: &str| kconfig.why(symbol, "y", &config, &Merged::default()).to_string();
    assert_eq!(
        said("CONFIG_USER_N"),
        "this kernel has no such symbol; the nearest are CONFIG_USER_NS and CONFIG_USER_NSX"
    );
    assert_eq!(said("CONFIG_KASNA"), "this kernel has no such symbol; the nearest is CONFIG_KASAN");
    assert_eq!(said("CONFIG_SECCOMP_FILTER"), "this kernel has no such symbol");
    assert_eq!([kconfig.has("CONFIG_KASAN"), kconfig.has("KASAN"), kconfig.has("CONFIG_KASA")], [true, false, false]);
}
