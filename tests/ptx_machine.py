"""Runs PTX on the CPU, thread by thread: what the compiler made of a kernel, checked without a GPU.

It knows the instructions that the kernels consist of and fails on any other. Registers hold bits, and every
instruction gives them its own meaning, as on a GPU. Slow: for pictures of a few dozen pixels.
"""

import re
from dataclasses import dataclass

import numpy as np

_STATEMENT = re.compile(r"^(?:@(!?)(%p\d+)\s+)?([\w.]+)\s*(.*);$")
_ADDRESS = re.compile(r"\[([%\w$]+)(?:\+(-?\d+))?\]")
_SHARED = re.compile(r"\.shared .*?\b(\w+)\[(\d+)\]")
_SIZES = {"8": 1, "16": 2, "32": 4, "64": 8}
_COMPARISONS = {
    "eq": lambda one, other: one == other,
    "ne": lambda one, other: one != other,
    "lt": lambda one, other: one < other,
    "le": lambda one, other: one <= other,
    "gt": lambda one, other: one > other,
    "ge": lambda one, other: one >= other,
}
_OPERATIONS = {
    "add": lambda one, other: one + other,
    "sub": lambda one, other: one - other,
    "mul": lambda one, other: one * other,
    "sqrt": np.sqrt,
    "div": lambda one, other: one / other if isinstance(one, np.float32) else _divide(one, other),
    "rem": lambda one, other: one - other * _divide(one, other),
    "and": lambda one, other: one & other,
    "or": lambda one, other: one | other,
    "xor": lambda one, other: one ^ other,
}


def _divide(one, other):
    """Return a quotient of integers, towards zero."""
    quotient = abs(one) // abs(other)
    return quotient if (one < 0) == (other < 0) else -quotient


def to_float(bits):
    """Return 32 bits as a float32."""
    return np.uint32(bits).view(np.float32)


def to_bits(value):
    """Return a float32 as 32 bits."""
    return int(np.float32(value).view(np.uint32))


def read_signed(bits, kind):
    """Return bits as a number of a type such as s32, u64 or b16."""
    width = int(kind[1:])
    bits &= (1 << width) - 1
    return bits - (1 << width) if kind[0] == "s" and bits >> (width - 1) else bits


@dataclass
class Machine:
    """A program, the memory of a GPU, and what is shared by a block."""

    lines: list
    labels: dict
    symbols: dict
    memory: bytearray
    shared: bytearray
    parameters: list


def run_kernel(ptx, blocks, threads, arguments):
    """Run a kernel; arrays among the arguments are changed in place.

    Parameters
    ----------
    ptx : str
    blocks, threads : int
    arguments : sequence
        Of np.int32, np.float32, tuples of them and one-dimensional arrays, as the kernel declares them.
    """
    memory, parameters, places = bytearray(256), [], []
    for argument in arguments:
        if isinstance(argument, np.ndarray):
            places.append((argument, len(memory)))
            size = argument.size
            parameters += [0, 0, size, argument.itemsize, len(memory), size, argument.itemsize]
            memory += argument.tobytes() + bytes(-argument.nbytes % 256 + 256)
        else:
            each = argument if isinstance(argument, tuple) else (argument,)
            parameters += [to_bits(one) if isinstance(one, np.float32) else int(one) for one in each]
    lines, labels, symbols, extent = [], {}, {}, 0
    for name, size in _SHARED.findall(ptx):
        symbols[name] = extent
        extent += int(size)
    for line in map(str.strip, ptx[ptx.index(".entry") :].splitlines()):
        if line.startswith("$") and line.endswith(":"):
            labels[line[:-1]] = len(lines)
        elif line.endswith(";") and not line.startswith("."):
            found = _STATEMENT.match(line)
            assert found, line
            negated, guard, operation, operands = found.groups()
            parts = re.findall(r"\{[^}]*\}|\[[^\]]*\]|[^,\s]+", operands)
            lines.append((guard, bool(negated), operation.split("."), parts))
    machine = Machine(lines, labels, symbols, memory, bytearray(extent), parameters)
    with np.errstate(all="ignore"):
        for block in range(blocks):
            sizes = {"%ctaid.x": block, "%nctaid.x": blocks, "%ntid.x": threads}
            running = [_run_thread(machine, {**sizes, "%tid.x": thread}) for thread in range(threads)]
            while running:  # from one barrier to the next
                running = [thread for thread in running if next(thread, None)]
    for array, place in places:
        array[...] = np.frombuffer(bytes(memory[place : place + array.nbytes]), array.dtype)


def _run_thread(machine, numbers):
    """Run a thread, of which the special registers hold numbers; yields True at every barrier."""
    registers = {**numbers, **machine.symbols}

    def read(operand):
        if operand.startswith("0f"):
            return int(operand[2:], 16)
        if operand[0] in "-0123456789":
            return int(operand)
        return registers[operand]

    here = 0
    while True:
        guard, negated, operation, operands = machine.lines[here]
        here += 1
        if guard and bool(registers[guard]) == negated:
            continue
        name = operation[0]
        if name == "ret":
            return
        if name == "bra":
            here = machine.labels[operands[0]]
        elif name == "bar":
            yield True
        elif name == "atom":
            _update(machine, operation, operands, registers, read)
        elif name in ("ld", "st"):
            _access(machine, operation, operands, registers, read)
        else:
            registers[operands[0]] = _compute(operation, [read(operand) for operand in operands[1:]])


def _access(machine, operation, operands, registers, read):
    name, space = operation[:2]
    where, what = (operands[1], operands[0]) if name == "ld" else operands
    base, offset = _ADDRESS.match(where).groups()
    if space == "param":
        registers[what] = machine.parameters[int(base.rpartition("_")[2])]
        return
    memory = machine.shared if space == "shared" else machine.memory
    size = _SIZES[operation[-1][1:]]
    place = read(base) + int(offset or 0)
    named = [one.strip() for one in what.strip("{}").split(",")]
    assert place % (size * len(named)) == 0, "misaligned"
    assert 0 <= place <= len(memory) - size * len(named), "outside of memory"
    for lane, register in enumerate(named):
        at = slice(place + lane * size, place + lane * size + size)
        if name == "ld":
            registers[register] = read_signed(int.from_bytes(memory[at], "little"), operation[-1])
        else:
            memory[at] = (read(register) & ((1 << 8 * size) - 1)).to_bytes(size, "little")


def _update(machine, operation, operands, registers, read):
    """Change a place in memory as one instruction does that nothing comes between."""
    load, store = ["ld", operation[1], operation[-1]], ["st", operation[1], operation[-1]]
    _access(machine, load, operands[:2], registers, read)
    made = _compute([operation[2], operation[-1]], [registers[operands[0]], read(operands[2])])
    _access(machine, store, [operands[1], "%made"], registers, {**registers, "%made": made}.__getitem__)


def _compute(operation, values):
    """Return the bits that an instruction makes of others."""
    name, kind = operation[0], operation[-1]
    if name in ("mov", "cvta"):
        return values[0]
    if name == "cvt":
        return _convert(operation, values[0])
    if name == "selp":
        return values[0] if values[2] else values[1]
    if kind == "pred":
        return bool(_OPERATIONS[name](*map(bool, values))) if len(values) == 2 else not values[0]
    if kind == "f32":
        return _compute_float(operation, [to_float(value & 0xFFFFFFFF) for value in values])
    numbers = [read_signed(value, kind) for value in values]
    if name == "setp":
        return _COMPARISONS[operation[1]](*numbers)
    width = 2 * int(kind[1:]) if "wide" in operation else int(kind[1:])
    if name == "mad":
        found = numbers[0] * numbers[1] + numbers[2]
    elif name in ("shl", "shr"):
        by = values[1] & 0xFFFFFFFF
        found = numbers[0] << min(by, 64) if name == "shl" else numbers[0] >> min(by, 64)
    elif name in ("min", "max"):
        found = (min if name == "min" else max)(*numbers)
    elif name == "prmt":
        pool = ((numbers[1] & 0xFFFFFFFF) << 32 | (numbers[0] & 0xFFFFFFFF)).to_bytes(8, "little")
        chosen = [(numbers[2] >> 4 * place) & 15 for place in range(4)]
        found = int.from_bytes(
            bytes(pool[one & 7] if one < 8 else 255 * (pool[one & 7] >> 7) for one in chosen), "little"
        )
    elif name == "abs":
        found = abs(numbers[0])
    elif name in ("not", "neg"):
        found = ~numbers[0] if name == "not" else -numbers[0]
    else:
        found = _OPERATIONS[name](*numbers)
    if "hi" in operation:
        found >>= width
    return found & ((1 << width) - 1)


def _compute_float(operation, values):
    name = operation[0]
    if name == "setp":
        comparison, faulty = operation[1], any(np.isnan(value) for value in values)
        if comparison == "nan":
            return faulty
        if comparison.endswith("u"):
            return faulty or bool(_COMPARISONS[comparison[:-1]](*values))
        return not faulty and bool(_COMPARISONS[comparison](*values))
    if name in ("abs", "neg"):
        return to_bits(abs(values[0]) if name == "abs" else -values[0])
    if name in ("min", "max"):  # the one that is a number
        return to_bits((np.fmin if name == "min" else np.fmax)(*values))
    assert operation[1:] in (["rn", "f32"], ["f32"]), operation
    return to_bits(_OPERATIONS[name](*values))


def _convert(operation, value):
    made, given = operation[-2:]
    if operation[1:] == ["sat", "f32", "f32"]:  # what is no number becomes 0
        return to_bits(np.fmin(np.fmax(to_float(value & 0xFFFFFFFF), np.float32(0)), np.float32(1)))
    if made == "f32":
        assert operation[1] == "rn", operation
        return to_bits(np.float32(read_signed(value, given)))
    if given == "f32":
        assert operation[1:-1] == ["rzi", made], operation
        number, width = to_float(value), int(made[1:])
        if np.isnan(number):
            return 0
        bounded = min(max(float(number), -(2.0 ** (width - 1))), 2.0 ** (width - 1) - 1)
        return int(bounded) & ((1 << width) - 1)
    return read_signed(value, given) & ((1 << int(made[1:])) - 1)
