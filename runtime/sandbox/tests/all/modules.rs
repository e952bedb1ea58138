//! Small programs made by hand, so that nothing has to be built: what no compiler gives, and much of it that is no program.

/// What every core module begins with.
pub(crate) const MODULE: &[u8] = b"\0asm\x01\0\0\0";
/// What every component begins with.
pub(crate) const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";

/// LEB128.
pub(crate) fn number(mut value: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

/// How many there are, or how long it is.
pub(crate) fn count(of: usize) -> Vec<u8> {
    number(u32::try_from(of).unwrap())
}

pub(crate) fn name(text: &str) -> Vec<u8> {
    [&count(text.len())[..], text.as_bytes()].concat()
}

pub(crate) fn section(id: u8, body: &[u8]) -> Vec<u8> {
    [&[id][..], &count(body.len()), body].concat()
}

/// A function's code, without variables of its own.
pub(crate) fn function(code: &[u8]) -> Vec<u8> {
    [&count(code.len() + 2)[..], &[0], code, &[0x0b]].concat()
}

/// A command that does nothing, with these sections before its exports.
pub(crate) fn idle(more: &[u8]) -> Vec<u8> {
    [
        MODULE,
        &section(1, b"\x01\x60\0\0"),
        &section(3, b"\x01\0"),
        more,
        &section(7, &[&[1][..], &name("_start"), b"\0\0"].concat()),
        &section(10, &[&[1][..], &function(b"")].concat()),
    ]
    .concat()
}

/// A command of that code, with one import of the system interface: `(clock id, precision, where to) -> errno`. Its note makes
/// it another one than those with another note.
pub(crate) fn command(code: &[u8], note: &str) -> Vec<u8> {
    let import = [
        &[1][..],
        &name("wasi_snapshot_preview1"),
        &name("clock_time_get"),
        &[0, 1],
    ]
    .concat();
    let exports = [&[2][..], &name("_start"), &[0, 1], &name("memory"), &[2, 0]].concat();
    [
        MODULE,
        &section(1, b"\x02\x60\0\0\x60\x03\x7f\x7e\x7f\x01\x7f"),
        &section(2, &import),
        &section(3, b"\x01\0"),
        &section(5, b"\x01\0\x01"),
        &section(7, &exports),
        &section(10, &[&[1][..], &function(code)].concat()),
        &section(0, &name(note)),
    ]
    .concat()
}

/// A command that asks once for so many random bytes, and writes nothing.
pub(crate) fn asks_for_random_bytes(bytes: u32) -> Vec<u8> {
    let import = [
        &[1][..],
        &name("wasi_snapshot_preview1"),
        &name("random_get"),
        &[0, 1],
    ]
    .concat();
    let exports = [&[2][..], &name("_start"), &[0, 1], &name("memory"), &[2, 0]].concat();
    // `(drop (call 0 (i32.const 0) (i32.const bytes)))`: the number is positive as a signed one too.
    let code = [&[0x41, 0, 0x41][..], &number(bytes), &[0x10, 0, 0x1a]].concat();
    [
        MODULE,
        &section(1, b"\x02\x60\0\0\x60\x02\x7f\x7f\x01\x7f"),
        &section(2, &import),
        &section(3, b"\x01\0"),
        &section(5, b"\x01\0\x02"),
        &section(7, &exports),
        &section(10, &[&[1][..], &function(&code)].concat()),
    ]
    .concat()
}

/// `(loop (br 0))`.
pub(crate) const FOR_EVER: &[u8] = b"\x03\x40\x0c\0\x0b";

/// A command that loops before it begins: while it is instantiated.
pub(crate) fn loops_at_its_start() -> Vec<u8> {
    [
        MODULE,
        &section(1, b"\x01\x60\0\0"),
        &section(3, b"\x02\0\0"),
        &section(7, &[&[1][..], &name("_start"), b"\0\x01"].concat()),
        &section(8, b"\0"),
        &section(
            10,
            &[&[2][..], &function(FOR_EVER), &function(b"")].concat(),
        ),
    ]
    .concat()
}

/// A command with imports of a module `env` by these names.
pub(crate) fn importing(names: &[String]) -> Vec<u8> {
    let mut imports = count(names.len());
    for import in names {
        imports.extend(name("env"));
        imports.extend(name(import));
        imports.extend([0, 0]);
    }
    let start = [&[1][..], &name("_start"), &[0], &count(names.len())].concat();
    [
        MODULE,
        &section(1, b"\x01\x60\0\0"),
        &section(2, &imports),
        &section(3, b"\x01\0"),
        &section(7, &start),
        &section(10, &[&[1][..], &function(b"")].concat()),
    ]
    .concat()
}

/// A component of so many instances of one module, with such sections in it.
pub(crate) fn component(instances: usize, module: &[u8]) -> Vec<u8> {
    let module = [MODULE, module].concat();
    let instance = [0, 0, 0].repeat(instances);
    [
        COMPONENT,
        &section(1, &module),
        &section(2, &[&count(instances)[..], &instance].concat()),
    ]
    .concat()
}
