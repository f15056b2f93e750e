// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// What programs cost: how often they run on a CPU, and the time that one in @EVERY@ runs takes.

// A cache line for each CPU. `left` are the runs until the next one that is measured.
struct cost {
	u64 left;
	u64 runs;
	u64 measured;
	u64 ns;
	u64 unused[4];
};
BPF_F_TABLE("array", u32, struct cost, costs, @CPUS@, BPF_F_MMAPABLE);

// When a run that is to be measured began; 0 for all others.
static __always_inline u64 begin_run(void)
{
	u32 cpu = bpf_get_smp_processor_id();
	struct cost *cost = costs.lookup(&cpu);

	return cost && !cost->left ? bpf_ktime_get_ns() : 0;
}

// Runs that an interrupt runs into may be counted as one.
static __always_inline void end_run(u64 began)
{
	u32 cpu = bpf_get_smp_processor_id();
	struct cost *cost = costs.lookup(&cpu);

	if (!cost)
		return;
	cost->runs++;
	if (began) {
		cost->ns += bpf_ktime_get_ns() - began;
		cost->measured++;
		cost->left = @EVERY@;
	}
	if (cost->left)
		cost->left--;
}
