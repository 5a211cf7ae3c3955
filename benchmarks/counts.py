"""What a kernel makes the processor do: instructions, loads, stores and spills, exactly, of each function.

    cmake -S . -B build && cmake --build build --target dcbmr_core -j
    g++ -O2 -no-pie -std=c++17 -fopenmp -Icsrc benchmarks/kernels.cpp build/libdcbmr_core.a -o build/kernels
    DCBMR_ISA=avx2 python benchmarks/counts.py build/kernels logmel 20
    DCBMR_ISA=avx2 python benchmarks/counts.py build/kernels als 32 128 1000
    python benchmarks/counts.py build/kernels --body FROM TO | llvm-mca -mcpu=znver3

Valgrind's callgrind counts how often each instruction runs (it knows AVX2, not AVX-512), objdump says what it
does. The last number, how often the kernel runs, divides the counts. --body prints the instructions between
two addresses, jumps and calls apart, for a model of a processor's ports.
"""

import collections
import re
import subprocess
import sys
import tempfile
from pathlib import Path

COLUMNS = ("all", "fma", "add, mul", "div, sqrt", "shuffle", "load", "store", "of these stack")
KINDS = {
    "fma": r"vf(n?m)(add|sub|addsub)\d*.s",
    "add, mul": r"v(add|sub|mul|max|min)[ps]s",
    "div, sqrt": r"v(div|sqrt|rcp|rsqrt)[ps]s",
    "shuffle": r"v(unpck|shuf|perm|insert|extract|blend|broadcast|movs[lh]dup)",
}


def main():
    program = sys.argv[1:]
    if program[1:2] == ["--body"]:
        print("\n".join(body(program[0], *(int(at, 16) for at in program[2:]))))
        return
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "counts"
        how = ["valgrind", "--tool=callgrind", "--dump-instr=yes", "--dump-line=no", "--compress-pos=no"]
        subprocess.run(
            [*how, "--compress-strings=no", f"--callgrind-out-file={out}", *program],
            check=True,
            capture_output=True,
        )
        runs = collections.Counter()
        called = False
        for line in out.read_text().splitlines():
            found = re.match(r"(0x[0-9a-f]+) (?:\d+ )?(\d+)$", line)
            if found and not called:
                runs[int(found[1], 16)] += int(found[2])
            called = line.startswith("calls=")  # the line that follows has what the callee cost
    table, function = collections.defaultdict(collections.Counter), ""
    for line in disassembled(program[0]):
        if head := re.match(r"[0-9a-f]+ <(.*)>:$", line):
            function = head[1].split("(anonymous namespace)::")[-1].split("(")[0]
        elif (part := re.match(r"\s+([0-9a-f]+):\s+(\S+)\s*(.*)", line)) and (n := runs[int(part[1], 16)]):
            for kind in kinds(part[2], part[3].split("#")[0].strip()):
                table[function][kind] += n
    times = int(program[-1])
    print(f"{'a run':<24}" + "".join(f"{name:>16}" for name in COLUMNS))
    for name, counts in sorted(table.items(), key=lambda item: -item[1]["all"])[:12]:
        print(f"{name[:23]:<24}" + "".join(f"{counts[column] / times:16,.0f}" for column in COLUMNS))


def disassembled(program):
    """Return the lines of objdump."""
    how = ["objdump", "-d", "-C", "--no-show-raw-insn", program]
    return subprocess.run(how, check=True, capture_output=True, text=True).stdout.splitlines()


def body(program, begin, end):
    """Yield the instructions from one address to another that compute or move."""
    for line in disassembled(program):
        part = re.match(
            r"\s+([0-9a-f]+):\s+(?!nop|cs nop|data16|endbr|ret|call|j|xchg|push|pop)([^#<]*)", line
        )
        if part and begin <= int(part[1], 16) < end:
            yield part[2].strip()


def kinds(name, operands):
    """Yield the columns that an instruction belongs to."""
    yield "all"
    from_memory = name.startswith("vbroadcast") and "(" in operands  # by the port that loads
    yield from (kind for kind, pattern in KINDS.items() if re.match(pattern, name) and not from_memory)
    if "(" not in operands or name.startswith(("lea", "nop", "prefetch")):
        return
    is_store = operands.rstrip().endswith(")") and re.match(r"v?mov|vextract|set", name)
    yield "store" if is_store else "load"
    if re.search(r"\((%rsp|%rbp)", operands):
        yield "of these stack"


if __name__ == "__main__":
    main()
