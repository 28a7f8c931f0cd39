//! Sets `cfg(loom)` for this package alone, so that the models are run as any other test.

fn main() {
    println!("cargo::rustc-cfg=loom");
}
