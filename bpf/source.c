// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// The common part of a source's module: its maps, and what decides whether a
// hit counts. Words between at signs are filled in by ptraced/program.py.

// Rows go out here, a ring per CPU.
BPF_PERF_OUTPUT(rows);

// 0 stops all programs at once: detaching each of them takes a grace period.
BPF_F_TABLE("array", u32, u64, enabled, 1, BPF_F_MMAPABLE);

// Failed submits, by event and CPU: event * @CPUS@ + cpu.
BPF_F_TABLE("array", u32, u64, lost, @LOST_SLOTS@, BPF_F_MMAPABLE);

// Rows that do not fit on the stack are put together here. No program runs
// inside another on the same CPU, so one per CPU is enough.
struct scratch {
	u8 bytes[@SCRATCH_BYTES@];
};
BPF_PERCPU_ARRAY(scratch, struct scratch, 1);

static __always_inline bool is_enabled(void)
{
	u32 zero = 0;
	u64 *flag = enabled.lookup(&zero);

	return flag && *flag;
}

static __always_inline void count_lost(u32 event)
{
	u32 slot = event * @CPUS@ + bpf_get_smp_processor_id();
	u64 *count = lost.lookup(&slot);

	// Atomic: an interrupt may lose an event of its own in between.
	if (count)
		__sync_fetch_and_add(count, 1);
}

// Copies what a __data_loc or __rel_loc locator of the record points to behind
// `end` in the row and writes where it lies to `column`. `from` is where the
// locator counts from; returns the new end of the row.
static __always_inline u32 copy_dynamic(void *ctx, u32 locator, u32 from, u8 *row,
					u32 base, u32 column, u32 end)
{
	u32 length = locator >> 16 & @DYNAMIC_MAX@;
	u32 start = from + (locator & 0xffff);

	*(u32 *)(row + column) = end - base;
	*(u32 *)(row + column + 4) = length;
	bpf_probe_read_kernel(row + end, length, (void *)((u64)ctx + start));
	return end + length;
}
