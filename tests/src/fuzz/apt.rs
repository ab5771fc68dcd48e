//! The readers of apt's texts: source lists, package descriptions, and the search through dependencies.

use vmlab_kernel::debian::resolve::{Walk, is_plain};
use vmlab_kernel::debian::{sources, stanza};

pub const WORDS: &[&[u8]] = &[
    b"Package: linux-image-cloud-amd64\nVersion: 1\nDepends: linux-image-6.1.0-1-cloud-amd64 (= 1)\n\n",
    b"Package: linux-image-6.1.0-1-cloud-amd64\nSource: linux\nVersion: 1\nDepends: a (= 1), b | c, linux-base (= 2)\n\n",
    b"Pre-Depends: a:any (= 1~2+3)\n",
    b"Types: deb deb-src\nURIs: http://mirror.example/debian/\nSuites: sid\nComponents: main\n\n",
    b"Enabled: no\n",
    b"Signed-By:\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n",
    b"deb [signed-by=/k arch=amd64] http://mirror.example/debian sid main # x\n",
    b"\n \n",
    b"\n\t",
];

/// An upper bound of the rounds; no kernel has as many packages.
const ROUNDS: usize = 40;

pub fn run(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    for stanza in stanza::parse(&text) {
        if let Some(name) = stanza.get("PACKAGE") {
            assert_eq!(stanza.get("Package"), Some(name), "the case of a field's name is no matter");
        }
    }
    for entry in sources::parse_one_line(&text).into_iter().chain(sources::parse_deb822(&text)) {
        let words = entry.uris.iter().chain(&entry.suites).chain(&entry.components);
        assert!(words.clone().all(|word| !word.contains(char::is_whitespace)), "{entry:?}");
        assert!(entry.uris.iter().all(|uri| !uri.ends_with('/')), "{entry:?}");
    }
    // The archive describes every package by the same text.
    let Ok(mut walk) = Walk::from_metapackage("linux-image-cloud-amd64", &text) else { return };
    for round in 0.. {
        assert!(round < ROUNDS, "the walk does not end");
        assert!(walk.wanted().iter().all(is_plain), "{walk:?}");
        if walk.wanted().is_empty() || walk.take_in(&text).is_err() {
            break;
        }
    }
    assert!(walk.into_packages().iter().all(is_plain));
}
