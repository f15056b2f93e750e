// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// The common part of a source's module: its maps, and what decides whether a
// hit counts. Words between at signs are filled in by ptraced/program.py.

// Hides from clang what a value can be: it would drop tests that the verifier needs.
#define OPAQUE(value) asm volatile("" : "+r"(value))

// Rows go out here, a ring per CPU.
BPF_PERF_OUTPUT(rows);

// 0 stops all programs at once: detaching each of them takes a grace period.
BPF_F_TABLE("array", u32, u64, enabled, 1, BPF_F_MMAPABLE);

// Failed submits, by event and CPU: event * @CPUS@ + cpu.
BPF_F_TABLE("array", u32, u64, lost, @LOST_SLOTS@, BPF_F_MMAPABLE);

// Rows that do not fit on the stack are put together here. No program of a
// tracepoint or kprobe runs inside another on the same CPU, so one per CPU is
// enough. Those of user probes may be preempted by each other: they take it.
struct scratch {
	u64 users;
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

// At most one program finds itself alone, and where two meet both may give way:
// their events are counted as lost.
static __always_inline bool take_scratch(struct scratch *room)
{
	__sync_fetch_and_add(&room->users, 1);
	return *(volatile u64 *)&room->users == 1;
}

static __always_inline void leave_scratch(struct scratch *room)
{
	__sync_fetch_and_add(&room->users, -1);
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

// Reads the text that a pointer of the program leads to, to `end` in the row: at most
// `most` bytes with the closing NUL, and one that is longer ends with "...".
static __always_inline u32 copy_user_text(u64 from, u8 *row, u32 base, u32 column, u32 end,
					  u32 most)
{
	long length = bpf_probe_read_user_str(row + end, most + 1, (void *)from);

	if (length == 0) {
		// An empty text, before "maccess: fix strncpy_from_user_nofault() empty string
		// handling".
		row[end] = 0;
		length = 1;
	} else if (length < 0) {
		// As the kernel's own probes have it.
		__builtin_memcpy(row + end, "(fault)", 8);
		length = 8;
	} else if (length > most) {
		__builtin_memcpy(row + end + most - 4, "...", 4);
		length = most;
	}
	OPAQUE(length);
	length &= @DYNAMIC_MAX@;
	*(u32 *)(row + column) = end - base;
	*(u32 *)(row + column + 4) = length;
	return end + length;
}

// Puts the stacks of a hit behind `end` in the row: the process (0 without a user
// stack), u32, bytes of the kernel's and of the user's stack, u16 each, and these.
// Where that begins is written to `column`.
static __always_inline u32 copy_stacks(void *hit, u8 *row, u32 base, u32 column, u32 end,
				       u32 kernel_bytes, u32 user_bytes)
{
	long kernel = 0, user = 0;
	u32 head = end;

	end += 8;
	if (kernel_bytes) {
		kernel = bpf_get_stack(hit, row + end, kernel_bytes, 0);
		if (kernel < 0)
			kernel = 0;
		OPAQUE(kernel);
		kernel &= @STACK_MASK@;
		end += kernel;
	}
	if (user_bytes) {
		user = bpf_get_stack(hit, row + end, user_bytes, BPF_F_USER_STACK);
		if (user < 0)
			user = 0;
		OPAQUE(user);
		user &= @STACK_MASK@;
		end += user;
	}
	*(u32 *)(row + head) = user ? bpf_get_current_pid_tgid() >> 32 : 0;
	*(u16 *)(row + head + 4) = kernel;
	*(u16 *)(row + head + 6) = user;
	*(u32 *)(row + column) = head - base;
	return end;
}
