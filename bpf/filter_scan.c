// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// Searches a text for a pattern with stars, in one pass: bit i of the state says
// that the pattern's first i items can match what has been read. The bit above
// that of all items stands for: matched, and the text is over.
static __always_inline u64 @NAME@_step(struct filter_room *room, u64 state, u8 byte)
{
	u64 over = filter_within(byte, 0, 0);
	u64 taken = room->low[byte & 15] & room->high[byte >> 4];

	taken |= @CLASSES@;
	return (state & taken) << 1 | (state & ((@STARS@ & ~over) | @OVER@));
}

static __always_inline bool @NAME@(struct filter_room *room, u64 from, u32 length)
{
	u64 state = 1;

@TABLES@
#pragma clang loop unroll(disable)
	for (u32 done = 0; done <= @LONGEST@; done += FILTER_PIECE) {
		u32 rest = length - done;

		if (rest > FILTER_PIECE)
			rest = FILTER_PIECE;
		// Whatever follows the text is not read: its end is a NUL in any case.
		if (filter_read(room, rest + 1, from + done, @USER@) <= 0)
			return false;
#pragma clang loop unroll(disable)
		for (u32 i = 0; i < @STEPS@; i += 8) {
#pragma unroll
			for (u32 j = 0; j < 8; j++)
				state = @NAME@_step(room, state, room->text[i + j]);
			if (state & @DONE@)
				return true;
			if (!state)
				return false;
		}
	}
	return false;
}
