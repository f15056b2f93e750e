// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// What filters of events are made of; ptraced/filter_c.py emits the calls.

// Comparisons stand in parentheses, and may be with a constant that decides them.
#pragma clang diagnostic ignored "-Wparentheses-equality"
#pragma clang diagnostic ignored "-Wtautological-compare"

// Text is looked at in pieces of so many bytes.
#define FILTER_PIECE 64

// Where text is read to. For patterns with a * inside: which items of the
// pattern take a byte is low[its low four bits] & high[its high four bits].
struct filter_room {
	u64 low[16];
	u64 high[16];
	char text[FILTER_PIECE + 8];
};

static __always_inline u64 filter_unaligned(void *ctx, u32 offset, u32 size)
{
	u64 value = 0;

	bpf_probe_read_kernel(&value, size, (void *)((u64)ctx + offset));
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

// All bits set if low <= byte <= high, else none; without a branch, as each
// would double the verifier's paths through the loop over a text.
static __always_inline u64 filter_within(u8 byte, u8 low, u8 high)
{
	u64 distance = (u8)(byte - low);

	return (u64)((s64)(distance - (high - low + 1)) >> 63);
}

static __always_inline long filter_read(struct filter_room *room, u32 size, u64 from, bool user)
{
	if (user)
		return bpf_probe_read_user_str(room->text, size, (void *)from);
	return bpf_probe_read_kernel_str(room->text, size, (void *)from);
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
	return filter_read(room, size + 1, from + done, user) == want + 1;
}

// Longest dynamic text: a record has at most PERF_MAX_TRACE_SIZE (8192) bytes.
static __always_inline u32 filter_length(u32 locator)
{
	u32 length = locator >> 16;

	return length > 8191 ? 8191 : length;
}
