//! Fails with an error class of its own.

fn main() {
    stepwell_test_guests::fail("CustomException", "CustomException message");
}
