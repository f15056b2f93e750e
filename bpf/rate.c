// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// A limited rate: the daemon gives credit time and again, and what is beyond is only counted.

// Hits that may still be submitted, on all CPUs. Two CPUs may use up the same one, or what the
// daemon has just written: it knows what it has read, and gives as much less.
BPF_F_TABLE("array", u32, u64, credit, 1, BPF_F_MMAPABLE);

// Hits beyond, by CPU and event: cpu * @STRIDE@ + event. CPUs have cache lines of their own.
BPF_F_TABLE("array", u32, u64, throttled, @SLOTS@, BPF_F_MMAPABLE);

static __always_inline bool may_submit(u32 event)
{
	u32 zero = 0;
	u64 *left = credit.lookup(&zero);

	if (!left)
		return false;
	u64 hits = *(volatile u64 *)left;

	if (hits) {
		*(volatile u64 *)left = hits - 1;
		return true;
	}
	u32 slot = bpf_get_smp_processor_id() * @STRIDE@ + event;
	u64 *count = throttled.lookup(&slot);

	// Atomic: an interrupt may have a hit of its own in between.
	if (count)
		__sync_fetch_and_add(count, 1);
	return false;
}
