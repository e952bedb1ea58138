//! Fails with the plainest exception.

fn main() {
    stepwell_test_guests::fail("Exception", "Some exception was raised.");
}
