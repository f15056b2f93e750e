// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// Says which samples of a perf event count: the kernel drops those for which this
// returns 0. It runs before the sample is put together, and only for our own event.
#ifdef CONFIG_X86
// As in uapi/linux/bpf_perf_event.h, which takes in most of the kernel's headers there.
#include <asm/ptrace.h>
struct bpf_perf_event_data {
	struct pt_regs regs;
	u64 sample_period;
	u64 addr;
};
#else
#include <uapi/linux/bpf_perf_event.h>
#endif

static __always_inline int run_@PROGRAM@(struct bpf_perf_event_data *hit)
{
	if (!in_scope())
		return 0;

	u64 task = bpf_get_current_pid_tgid();
	u64 record[@WORDS@] = {
		PT_REGS_IP(&hit->regs),
		hit->addr,
		hit->sample_period,
		task >> 32,
		(u32)task,
	};
	void *ctx = record;

	// From here on a record is a record: clang shall not look into how it was made.
	asm volatile("" : "+r"(ctx) : : "memory");
	if (!filter_0(ctx))
		return 0;
#if @LIMITED@
	if (!may_submit(0))
		return 0;
#endif
	return 1;
}

int @PROGRAM@(struct bpf_perf_event_data *hit)
{
	u64 began = begin_run();
	int result = run_@PROGRAM@(hit);

	end_run(began);
	return result;
}
