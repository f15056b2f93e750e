// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// Many events of the syscalls: family at once: two programs on raw_syscalls: that
// jump to an event's program by the system call's number. The records of both
// families have number and arguments in the same places. Detaching takes two grace
// periods so, not one for each event. A run that jumps is the event's.

BPF_PROG_ARRAY(syscall_enter, @SYSCALLS_MAX@);
BPF_PROG_ARRAY(syscall_exit, @SYSCALLS_MAX@);

// The numbers of 32-bit calls mean others, and the syscalls: events leave such
// calls out; TS_COMPAT in thread_info.status (x86) tells them.
static __always_inline bool is_compat(void)
{
	u32 status = 0;
	u64 task = bpf_get_current_task();

	bpf_probe_read_kernel(&status, sizeof(status), (void *)(task + @STATUS@));
	return status & 2;
}

int dispatch_enter(void *ctx)
{
	u64 began = begin_run();

	if (is_enabled() && !is_compat())
		syscall_enter.call(ctx, *(u64 *)(ctx + 8));
	end_run(began);
	return 1;
}

int dispatch_exit(void *ctx)
{
	u64 began = begin_run();

	if (is_enabled() && !is_compat())
		syscall_exit.call(ctx, *(u64 *)(ctx + 8));
	end_run(began);
	return 1;
}
