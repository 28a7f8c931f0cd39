//! What the test suites of shmem share.
