/* A program whose functions are probed: it says "PID", reads a line, calls them, ends. */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* What <sys/sdt.h> of SystemTap makes of DTRACE_PROBE3(probed, NAME, one, two, three). */
#define USDT(name, semaphore, one, two, three)                                                   \
	__asm__ volatile(                                                                            \
		"990: nop\n"                                                                             \
		".pushsection .note.stapsdt,\"?\",\"note\"\n"                                            \
		".balign 4\n"                                                                            \
		".4byte 992f-991f, 994f-993f, 3\n"                                                       \
		"991: .asciz \"stapsdt\"\n"                                                              \
		"992: .balign 4\n"                                                                       \
		"993: .8byte 990b\n"                                                                     \
		".8byte _.stapsdt.base\n"                                                                \
		".8byte " semaphore "\n"                                                                 \
		".asciz \"probed\"\n"                                                                    \
		".asciz \"" name "\"\n"                                                                  \
		".asciz \"-4@%0 8@%1 1@%2\"\n"                                                           \
		"994: .balign 4\n"                                                                       \
		".popsection\n"                                                                          \
		".ifndef _.stapsdt.base\n"                                                               \
		".pushsection .stapsdt.base,\"aG\",\"progbits\",.stapsdt.base,comdat\n"                  \
		".weak _.stapsdt.base\n"                                                                 \
		".hidden _.stapsdt.base\n"                                                               \
		"_.stapsdt.base: .space 1\n"                                                             \
		".size _.stapsdt.base, 1\n"                                                              \
		".popsection\n"                                                                          \
		".endif\n" ::"nor"(one), "nor"(two), "nor"(three))

#define NOINLINE __attribute__((noinline, noclone))

struct pair {
	int first;
	double second;
};

struct large {
	long values[5];
};

enum colour { RED, GREEN = 7 };

unsigned short guarded_semaphore __attribute__((section(".probes"), used));
volatile long sink;

NOINLINE int narrow(signed char a, unsigned short b, bool c, enum colour d)
{
	sink += a + b + c + d;
	return -3;
}

NOINLINE long mixed(int a, double b, struct pair p, struct large l, const char *text, long d, long e,
		    long f, int g)
{
	sink += a + (long)b + p.first + l.values[0] + (text != 0) + d + e + f + g;
	return 1L << 40;
}

NOINLINE struct large large(long a, unsigned b)
{
	struct large made = {{a, b, 3, 4, 5}};

	return made;
}

NOINLINE void nothing(const char *text)
{
	sink += strlen(text);
}

NOINLINE double real(double x, int n)
{
	return x * n;
}

NOINLINE const char *named(int number)
{
	static const char *const names[] = {"zero", "one", "two"};

	return names[number % 3];
}

static void call(int number)
{
	static char on_heap[6000];

	memset(on_heap, 'x', sizeof(on_heap) - 1);
	sink += narrow(-5, 65000, true, GREEN);
	sink += mixed(number, 2.5, (struct pair){11, 0.5}, (struct large){{1, 2, 3, 4, 5}}, "a text",
		      4, -5, 1L << 33, -7);
	sink += large(-number, 4000000000u).values[1];
	nothing(number % 2 ? "short" : on_heap);
	sink += real(1.5, number);
	sink += named(number)[0];
	/* As on a stack, in registers, constant: what the compiler likes. */
	volatile int on_stack = -number;

	USDT("plain", "0", on_stack, (uint64_t)1 << 63 | number, (unsigned char)200);
	USDT("plain", "0", 5, (uint64_t)on_heap, (unsigned char)number);
	if (guarded_semaphore)
		USDT("guarded", "guarded_semaphore", -1, (uint64_t)on_heap, (unsigned char)1);
}

int main(void)
{
	char line[16];

	printf("%d\n", getpid());
	fflush(stdout);
	if (!fgets(line, sizeof(line), stdin))
		return 1;
	for (int number = 1; number <= 3; number++)
		call(number);
	return 0;
}
