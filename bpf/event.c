// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// The program of one event, or of one of a probe's places: @EVENT@.
//
// Of a tracepoint it returns 1: with 0 the kernel would keep the hit from every
// other user of it, from perf record for one. Of a file's probe it returns 0: with
// 1 a link would remove the breakpoint from the process (UPROBE_HANDLER_REMOVE).

static __always_inline int run_@PROGRAM@(@HIT@ *hit)
{
	if (!is_enabled() || !in_scope())
		return @RESULT@;

#if @IS_PROBE@
	u64 record[@WORDS@];

	{
		struct pt_regs *regs = hit;

@RECORD@
	}
	void *ctx = record;
#else
	void *ctx = hit;
#endif
	// From here on a record is a record: clang shall not look into how it was made.
	asm volatile("" : "+r"(ctx) : : "memory");

#if !@FILTER_GUARDED@
	if (!filter_@N@(ctx))
		return @RESULT@;
#endif
#if @GUARDED@ || !@ON_STACK@
	u32 zero = 0;
	struct scratch *room = scratch.lookup(&zero);

	if (!room)
		return @RESULT@;
#endif
#if @GUARDED@
	if (!take_scratch(room))
		goto lost;
#endif
#if @FILTER_GUARDED@
	if (!filter_@N@(ctx))
		goto leave;
#endif
#if @LIMITED@
	if (!may_submit(@N@))
		goto leave;
#endif

	u32 end = @ROW_SIZE@;
#if @ON_STACK@
	u8 row[@ROW_SIZE@] __attribute__((aligned(8)));
#else
	u8 *row = room->bytes;
#endif
@COPY@
	if (!rows.perf_submit(hit, row, end))
		goto leave;
lost:
	count_lost(@N@);
leave:
#if @GUARDED@
	leave_scratch(room);
#endif
	return @RESULT@;
}

int @PROGRAM@(@HIT@ *hit)
{
	u64 began = begin_run();
	int result = run_@PROGRAM@(hit);

	end_run(began);
	return result;
}
