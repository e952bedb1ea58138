//! Returns the JSON string `"HelloWorld!"`, written as raw bytes.

fn main() {
    stepwell_test_guests::write(br#""HelloWorld!""#);
}
