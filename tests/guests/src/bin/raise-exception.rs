//! Fails with the plainest exception, as Lambda's Python runtime reports it.

fn main() {
    stepwell_test_guests::raise(
        "Exception",
        "Some exception was raised.",
        "  File \"/var/task/handler.py\", line 2, in handler\n    raise Exception(\"Some exception was raised.\")\n",
    );
}
