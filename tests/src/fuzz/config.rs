//! The reader of kernel configurations: writing and reading a configuration again gives the same configuration.

use vmlab_kernel::config::KernelConfig;

pub const WORDS: &[&[u8]] = &[
    b"CONFIG_UTS_NS=y\n",
    b"CONFIG_UTS_NS=m\n",
    b"# CONFIG_UTS_NS is not set\n",
    b"CONFIG_CC_VERSION_TEXT=\"gcc (Debian 12.2.0) # 1\"\n",
    b"CONFIG_HZ=250\r\n",
    b"CONFIG_PHYSICAL_START=0x1000000\n",
    b"CONFIG_=y\n",
    b"# Linux/x86 6.1.0 Kernel Configuration\n",
];

/// The symbols that a line can name, by the rules of `conf_read_simple` in scripts/kconfig/confdata.c.
fn symbol(line: &str) -> Option<&str> {
    let line = line.trim();
    let set = line.split_once('=').map(|(name, _)| name);
    let unset = line.strip_prefix("# ").and_then(|rest| rest.strip_suffix(" is not set"));
    set.or(unset).filter(|name| name.starts_with("CONFIG_"))
}

pub fn run(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let config = KernelConfig::parse(&text);
    let mut written = String::from("# written again\n");
    for line in text.lines() {
        let Some(name) = symbol(line) else { continue };
        let Some(value) = config.get(name) else {
            written.push_str(&format!("# {name} is not set\n"));
            continue;
        };
        assert_eq!(config.enabled(name), matches!(value, "y" | "m"), "{name}");
        written.push_str(&format!("{name}={value}\n"));
        // The last line about a symbol counts.
        let last = text.lines().rev().find(|line| symbol(line) == Some(name)).map(str::trim);
        assert_eq!(last, Some(format!("{name}={value}").as_str()), "{name}");
    }
    let again = KernelConfig::parse(&written);
    for name in text.lines().filter_map(symbol) {
        assert_eq!(again.get(name), config.get(name), "{name}");
    }
    assert_eq!(KernelConfig::parse(&text), config, "the same text is the same configuration");
}
