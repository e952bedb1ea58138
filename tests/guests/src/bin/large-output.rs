//! Returns 257 KiB of `a`: more than a state's output may hold.

fn main() {
    stepwell_test_guests::output(&serde_json::Value::String("a".repeat(257 * 1024)));
}
