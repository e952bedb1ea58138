//! Returns `{"Return": "HelloWorld"}`.

fn main() {
    stepwell_test_guests::output(&serde_json::json!({ "Return": "HelloWorld" }));
}
