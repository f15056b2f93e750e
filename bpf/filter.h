// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// What filters of events are made of; ptraced/filter_c.py emits the calls.

// Comparisons stand in parentheses, and may be with a constant that decides them.
#pragma clang diagnostic ignored "-Wparentheses-equality"
#pragma clang diagnostic ignored "-Wtautological-compare"

// Loads from a program's context, for which the verifier wants an address of the
// context and a constant offset. Written out, as clang may merge the loads of
// two branches into one from a computed address.
#define FILTER_LOAD(type, offset)                                                   \
	({                                                                          \
		u64 loaded;                                                         \
		asm("%0 = *(" #type " *)(%1 + %2)" : "=r"(loaded) : "r"(ctx), "i"(offset)); \
		(type)loaded;                                                       \
	})

// Hides from clang how a value came about, and so where its bounds come from:
// it would drop tests that the verifier needs, or turn arithmetic into branches.
#define FILTER_OPAQUE(value) asm volatile("" : "+r"(value))

// Text is looked at in pieces of so many bytes.
#define FILTER_PIECE 64

// Where text is read to. For patterns with a * inside: which items of the
// pattern take a byte is low[its low four bits] & high[its high four bits].
struct filter_room {
	u64 low[16];
	u64 high[16];
	char text[2 * FILTER_PIECE];
};

static __always_inline u64 filter_unaligned(u64 record, u32 offset, u32 size)
{
	u64 value = 0;

	bpf_probe_read_kernel(&value, size, (void *)(record + offset));
	return value;
}

static __always_inline u64 filter_magnitude(s64 value)
{
	u64 sign = value >> 63;

	return ((u64)value ^ sign) - sign;
}

// BPF divides unsigned numbers only. Division by zero gives 0.
static __always_inline u64 filter_divide(u64 left, u64 right)
{
	return right ? left / right : 0;
}

static __always_inline u64 filter_modulo(u64 left, u64 right)
{
	return right ? left % right : 0;
}

static __always_inline s64 filter_divide_signed(s64 left, s64 right)
{
	u64 sign = (left ^ right) >> 63;
	u64 quotient = filter_divide(filter_magnitude(left), filter_magnitude(right));

	return (quotient ^ sign) - sign;
}

// As in C, the remainder has the sign of what is divided.
static __always_inline s64 filter_modulo_signed(s64 left, s64 right)
{
	u64 sign = left >> 63;
	u64 rest = filter_modulo(filter_magnitude(left), filter_magnitude(right));

	return (rest ^ sign) - sign;
}

// 1 if low <= byte <= high, else 0; without a branch, as each would double the
// verifier's paths through the loop over a text. To be multiplied with: of a mask
// that is all zeros or all ones newer verifiers follow both cases.
static __always_inline u64 filter_within(u8 byte, u8 low, u8 high)
{
	u64 distance = (u8)(byte - low);

	FILTER_OPAQUE(distance);
	distance = (distance - (high - low + 1)) >> 63;
	FILTER_OPAQUE(distance);
	return distance;
}

// Reads up to size - 1 < 2 * FILTER_PIECE bytes of a text and closes them by a NUL;
// returns how many bytes that are with the NUL.
static __always_inline long filter_read(struct filter_room *room, u64 size, u64 from, bool user)
{
	// For the verifier, which loses track of what a value was compared with.
	FILTER_OPAQUE(size);
	size &= 2 * FILTER_PIECE - 1;
	if (user)
		return bpf_probe_read_user_str(room->text, size, (void *)from);
	return bpf_probe_read_kernel_str(room->text, size, (void *)from);
}

// The smaller of a number and FILTER_PIECE, without a branch, as in filter_within.
static __always_inline u64 filter_at_most_a_piece(u64 number)
{
	u64 room = FILTER_PIECE - number;
	u64 larger = room >> 63;

	FILTER_OPAQUE(larger);
	return number + larger * room;
}

// Reads text[done, done + want) of a text of at most `length` bytes that starts
// at `from`, and tells whether there are so many; unless `open`, no more either.
static __always_inline bool filter_piece(struct filter_room *room, u64 from, u32 length,
					 u32 done, u32 want, bool open, bool user)
{
	u32 most = open ? want : want + 1;
	u32 size = length - done;

	if (length < done + want)
		return false;
	if (size > most)
		size = most;
	return filter_read(room, (u64)size + 1, from + done, user) == want + 1;
}

// Length of a dynamic text: a record has at most PERF_MAX_TRACE_SIZE (8192) bytes.
static __always_inline u32 filter_length(u32 locator)
{
	return locator >> 16 & 8191;
}
