//! Fails with an error class of its own that has no message, as Lambda's Python runtime reports it.

fn main() {
    stepwell_test_guests::raise(
        "CustomException",
        "",
        "  File \"/var/task/handler.py\", line 9, in handler\n    raise CustomException()\n",
    );
}
