//! Tells the derives that describe our types in OpenAPI which foreign types are plain text there.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    utoipa_config::Config::new().alias_for("CompactString", "String").write_to_file();
}
