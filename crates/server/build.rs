//! Builds the server again when the page was built: its files are inside the binary.

fn main() {
    let dist = "../../web-demo/app/dist";
    let watched = [dist, "../../web-demo/app"].into_iter().find(|path| std::path::Path::new(path).is_dir());
    println!("cargo:rerun-if-changed={}", watched.unwrap_or("build.rs"));
}
