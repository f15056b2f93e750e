"""What the kernel means when it refuses to attach a probe."""

from __future__ import annotations

import errno
import os

from ptrace_formats.event_format import EventFormat
from ptraced.origin import Probe
from ptraced.probes.user import explain_user_refusal

# What perf_event_open(2) of a kprobe fails with (kernel/trace/trace_kprobe.c, kernel/kprobes.c).
_REASONS = {
    errno.EINVAL: "it does not allow probes there: the function is on its blacklist, or notrace, "
    "or the place is outside of functions",
    errno.EILSEQ: "no instruction starts there, as objdump -d of its image shows",
    errno.ENOENT: "it has no such function, or no longer: a module may have been unloaded",
    errno.EADDRNOTAVAIL: "it has several functions of that name and cannot tell them apart",
    errno.EOPNOTSUPP: "the instruction there cannot be probed",
    errno.EBUSY: "something else has replaced the instruction there (a jump label, a trampoline)",
    errno.EACCES: "the daemon lacks CAP_PERFMON",
    errno.EPERM: "it is locked down (CONFIG_SECURITY_LOCKDOWN_LSM, mode confidentiality), "
    "or the daemon lacks CAP_PERFMON",
    errno.ENOMEM: "it has no memory left for more probes",
    errno.EMFILE: "the daemon has too many files open; LimitNOFILE= of its unit raises the limit",
}


def explain_refusal(format: EventFormat, probe: Probe, error: OSError) -> str:
    """Return the text of an error for a probe that could not be attached."""
    if probe.file is not None:
        return explain_user_refusal(format, probe, error)
    return f"error: the kernel refuses {format.system}:{format.name}: {kernel_reason(error)}"


def kernel_reason(error: OSError) -> str:
    """Return why the kernel refuses a kprobe, by its error."""
    number = error.errno or 0
    reason = _REASONS.get(number, os.strerror(number))
    return f"{reason} ({errno.errorcode.get(number, number)})"
