"""Names of system calls by the audit library's interface, for hosts without its Python module.

Scripts find it last on their path, so that the library itself comes first where it is.
"""

from __future__ import annotations as _annotations

from ptrace_client.perf_script.audit_names import audit_name as _audit_name

# enum machine_t (lib/libaudit.h)
MACH_X86 = 0
MACH_86_64 = 1
MACH_IA64 = 2
MACH_PPC64 = 3
MACH_PPC = 4
MACH_S390X = 5
MACH_S390 = 6
MACH_ALPHA = 7
MACH_ARM = 8
MACH_AARCH64 = 9
MACH_PPC64LE = 10

# As uname(2) says it.
_MACHINES = {
    MACH_X86: "i686",
    MACH_86_64: "x86_64",
    MACH_IA64: "ia64",
    MACH_PPC64: "ppc64",
    MACH_PPC: "ppc",
    MACH_S390X: "s390x",
    MACH_S390: "s390",
    MACH_ALPHA: "alpha",
    MACH_ARM: "arm",
    MACH_AARCH64: "aarch64",
    MACH_PPC64LE: "ppc64le",
}


def audit_syscall_to_name(nr: int, machine: int) -> str | None:
    """Return the name of a system call of a machine (MACH_*), None where it has none."""
    name = _MACHINES.get(machine)
    return _audit_name(nr, name) if name is not None else None
