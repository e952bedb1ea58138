//! Sleeps for 60 seconds, then returns the event.

fn main() {
    let event = stepwell_test_guests::input();
    std::thread::sleep(std::time::Duration::from_secs(60));
    stepwell_test_guests::output(&event);
}
