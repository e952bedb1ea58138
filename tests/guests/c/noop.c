// The benchmark's task in C, without a library: whatever it is given, it answers `null`. What the canonical ABI asks for is
// written by hand: memory for what is handed in, and the end of an answer.

#include <stddef.h>
#include <stdint.h>

#define PAGE_BYTES 65536u
#define HANDLE "stepwell:task/handler@0.1.0#handle"

extern unsigned char __heap_base;

// Where free memory begins during a call; none is taken between calls.
static uintptr_t top;

__attribute__((export_name("cabi_realloc"))) void *cabi_realloc(void *old, size_t old_bytes, size_t align, size_t bytes) {
  uintptr_t free = top != 0 ? top : (uintptr_t)&__heap_base;
  uintptr_t at = (free + align - 1) & ~(uintptr_t)(align - 1);
  uintptr_t end = at + bytes;
  size_t have = __builtin_wasm_memory_size(0) * PAGE_BYTES;
  if (end > have) {
    size_t pages = (end - have + PAGE_BYTES - 1) / PAGE_BYTES;
    if (__builtin_wasm_memory_grow(0, pages) == SIZE_MAX) {
      __builtin_trap();
    }
  }
  if (old_bytes > 0) {
    __builtin_memcpy((void *)at, old, old_bytes < bytes ? old_bytes : bytes);
  }
  top = end;
  return (void *)at;
}

// result<string, task-error>
struct answer {
  uint8_t failed;
  const char *text;
  size_t bytes;
  const char *cause;
  size_t cause_bytes;
};

static const struct answer ANSWER = {.failed = 0, .text = "null", .bytes = 4};

// Its parameters are too many for the ABI to hand them in otherwise than in memory.
__attribute__((export_name(HANDLE))) const struct answer *handle(const void *parameters) {
  (void)parameters;
  return &ANSWER;
}

// The host has read the answer.
__attribute__((export_name("cabi_post_" HANDLE))) void done(const struct answer *answer) {
  (void)answer;
  top = 0;
}
