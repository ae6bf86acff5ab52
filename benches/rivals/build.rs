//! Lets the machine follow the ways of other protocols, in this package only.

fn main() {
    println!("cargo::rustc-cfg=hustings_mutants");
    println!("cargo::rustc-check-cfg=cfg(hustings_mutants)");
    println!("cargo::rustc-check-cfg=cfg(feature, values(\"grpc\", \"telemetry\", \"otlp\"))");
    println!("cargo::rerun-if-changed=build.rs");
}
