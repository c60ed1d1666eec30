//! Prints the path of the flatc that was built with this program.

fn main() {
    println!("{}", flatc_fork::flatc().display());
}
