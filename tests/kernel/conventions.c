/*
 * Functions whose arguments take the odder ways of a calling convention. Each one's last argument
 * is 77, but 78 where it comes on the stack. It says "PID", reads a line, calls them, ends.
 */
#include <stdbool.h>
#include <stdio.h>
#include <unistd.h>

#define FUNCTION __attribute__((noinline, noclone)) void

volatile long sink;

typedef __int128 wide;
struct longs { long a, b; };
struct three { long a, b, c; };
struct floats { float a, b, c; };
struct doubles { double a, b; };
struct mixed { float a; int b; double c; };
struct nested { struct { char a; struct { short b; } c; } d; float e; };
struct bits { unsigned a : 3, b : 20; short c; };
union number { double a; long b; };
struct text { char a[16]; };
struct longer { char a[17]; };
struct __attribute__((packed)) packed { char a; long b; };
struct nothing { };
typedef int *(*callback)(void);

FUNCTION odd_long_double(long double a, int last) { sink += a + last; }
FUNCTION odd_wide(int a, wide b, int last) { sink += a + b + last; }
FUNCTION odd_wide_late(long a, long b, long c, long d, long e, wide f, int last) { sink += a + b + c + d + e + f + last; }
FUNCTION odd_longs_late(long a, long b, long c, long d, long e, struct longs f, int last) { sink += a + b + c + d + e + f.a + last; }
FUNCTION odd_longs(struct longs a, struct longs b, struct longs c, int last) { sink += a.a + b.a + c.a + last; }
FUNCTION odd_three(struct three a, int last) { sink += a.c + last; }
FUNCTION odd_floats(struct floats a, int last) { sink += a.c + last; }
FUNCTION odd_doubles(struct doubles a, struct doubles b, int last) { sink += a.b + b.a + last; }
FUNCTION odd_mixed(struct mixed a, int last) { sink += a.b + last; }
FUNCTION odd_nested(struct nested a, int last) { sink += a.e + last; }
FUNCTION odd_bits(struct bits a, int last) { sink += a.b + last; }
FUNCTION odd_union(union number a, int last) { sink += a.b + last; }
FUNCTION odd_text(struct text a, int last) { sink += a.a[3] + last; }
FUNCTION odd_longer(struct longer a, int last) { sink += a.a[3] + last; }
FUNCTION odd_packed(struct packed a, int last) { sink += a.b + last; }
FUNCTION odd_nothing(struct nothing a, int last) { sink += last; }
FUNCTION odd_complex(double _Complex a, float _Complex b, int last) { sink += a + b + last; }
FUNCTION odd_many_floats(double a, double b, double c, double d, double e, double f, double g, double h, double i, int last) { sink += a + b + c + d + e + f + g + h + i + last; }
FUNCTION odd_stack(double a, double b, double c, double d, double e, double f, double g, double h, double i, long j, long k, long l, long m, long n, long o, char last) { sink += i + j + k + l + m + n + o + last; }
FUNCTION odd_stack_aligned(long a, long b, long c, long d, long e, long f, long g, wide h, short last) { sink += g + h + last; }
FUNCTION odd_doubles_late(struct doubles a, struct doubles b, struct doubles c, double d, struct doubles e, int last) { sink += e.a + d + last; }
FUNCTION odd_callback(callback a, const char *const *b, bool c, long last) { sink += (a != 0) + (b != 0) + c + last; }

static void call(void)
{
	odd_long_double(1, 77);
	odd_wide(1, 2, 77);
	odd_wide_late(1, 2, 3, 4, 5, 6, 77);
	odd_longs_late(1, 2, 3, 4, 5, (struct longs){6, 7}, 77);
	odd_longs((struct longs){1, 2}, (struct longs){3, 4}, (struct longs){5, 6}, 78);
	odd_three((struct three){1, 2, 3}, 77);
	odd_floats((struct floats){1, 2, 3}, 77);
	odd_doubles((struct doubles){1, 2}, (struct doubles){3, 4}, 77);
	odd_mixed((struct mixed){1, 2, 3}, 77);
	odd_nested((struct nested){{1, {2}}, 3}, 77);
	odd_bits((struct bits){1, 2, 3}, 77);
	odd_union((union number){.b = 1}, 77);
	odd_text((struct text){"text"}, 77);
	odd_longer((struct longer){"longer"}, 77);
	odd_packed((struct packed){1, 2}, 77);
	odd_nothing((struct nothing){}, 77);
	odd_complex(1, 2, 77);
	odd_many_floats(1, 2, 3, 4, 5, 6, 7, 8, 9, 77);
	odd_stack(1, 2, 3, 4, 5, 6, 7, 8, 9, 1, 2, 3, 4, 5, 6, 78);
	odd_stack_aligned(1, 2, 3, 4, 5, 6, 7, 8, 78);
	odd_doubles_late((struct doubles){1, 2}, (struct doubles){3, 4}, (struct doubles){5, 6}, 7, (struct doubles){8, 9}, 77);
	odd_callback(0, 0, true, 77);
}

int main(void)
{
	char line[16];

	printf("%d\n", getpid());
	fflush(stdout);
	if (!fgets(line, sizeof(line), stdin))
		return 1;
	call();
	return 0;
}
