// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// The program of one event: @EVENT@.
//
// It always returns 1: with 0 the kernel would keep the hit from every other
// user of the tracepoint, from perf record for one.

@FILTER@
int event_@N@(void *ctx)
{
	if (!is_enabled() || !in_scope() || !filter_@N@(ctx))
		return 1;

	u32 end = @ROW_SIZE@;
#if @ON_STACK@
	u8 row[@ROW_SIZE@] __attribute__((aligned(8)));
#else
	u32 zero = 0;
	struct scratch *room = scratch.lookup(&zero);

	if (!room)
		return 1;
	u8 *row = room->bytes;
#endif
@COPY@
	if (rows.perf_submit(ctx, row, end))
		goto lost;
	return 1;
lost:
	count_lost(@N@);
	return 1;
}
