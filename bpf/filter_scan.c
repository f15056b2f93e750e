// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// Searches a text for a pattern with stars, in one pass: bit i of the state says
// that the pattern's first i items can match what has been read. The bit above
// that of all items stands for: matched, and the text is over; the highest bit
// for: the text is over.
static __always_inline u64 @NAME@_step(struct filter_room *room, u64 state, u8 byte)
{
	u64 over = filter_within(byte, 0, 0);
	u64 taken = room->low[byte & 15] & room->high[byte >> 4];
	u64 stays = (over ^ 1) * @STARS@ | @MATCHED@;

	taken |= @CLASSES@;
	return (state & taken) << 1 | (state & stays) | over * @OVER@;
}

static __always_inline bool @NAME@(struct filter_room *room, u64 from, u32 length)
{
	u64 state = 1;

@TABLES@
#pragma clang loop unroll(disable)
	for (u32 done = 0; done <= @LONGEST@; done += FILTER_PIECE) {
		u64 rest = filter_at_most_a_piece((u64)length - done);

		// Whatever follows the text is not read: its end is a NUL in any case.
		if (filter_read(room, rest + 1, from + done, @USER@) <= 0)
			return false;
#pragma clang loop unroll(disable)
		for (u32 i = 0; i < FILTER_PIECE; i += 16) {
#pragma unroll
			for (u32 j = 0; j < 16; j++)
				state = @NAME@_step(room, state, room->text[i + j]);
			if (state & (@DONE@ | @OVER@))
				return state & @DONE@;
		}
	}
	return false;
}
