//! smoke
use vmlab_tests::fake::script::Guest;
use vmlab_tests::lab::FakeLab;
#[test]
fn smoke() {
    let lab = FakeLab::new(env!("CARGO_BIN_EXE_vmlab-under-test"), env!("CARGO_BIN_EXE_fake-qemu"), vec![Guest::good()]);
    let o = lab.run(&["uts"]);
    println!("{}", o.ended);
    o.exits(0);
}
