// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// Stands before every module. Where /proc/kallsyms hides addresses, BCC takes the kernel to have no
// helpers that tell user memory from its own, and puts those in their place that read either:
// a program could pass an address of the kernel as a file name, and be shown what lies there.

#undef bpf_probe_read_kernel
#undef bpf_probe_read_kernel_str
#undef bpf_probe_read_user
#undef bpf_probe_read_user_str

// By names that BCC does not know.
static long (*read_user)(void *, u32, const void *) = (void *)BPF_FUNC_probe_read_user;
static long (*read_user_str)(void *, u32, const void *) = (void *)BPF_FUNC_probe_read_user_str;
#define bpf_probe_read_user read_user
#define bpf_probe_read_user_str read_user_str

#line 1
