//! Host bindings generated from the one contract, `guest-sdk/wit/task.wit`.

#![allow(
    unsafe_code,
    unreachable_pub,
    reason = "generated: the canonical ABI reads and writes guest memory"
)]

wasmtime::component::bindgen!({
    path: "../../guest-sdk/wit",
    world: "stepwell:task/task",
    exports: { default: async },
});
