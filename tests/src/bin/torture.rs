//! Kills worker processes at random, and compares what is left with a ledger: see `shmem_tests::torture`.

fn main() -> std::process::ExitCode {
    shmem_tests::torture::main()
}
