// Calls getppid from 300 different stacks, each ROUNDS times: `stacks ROUNDS CPU`.
// As calls.c otherwise. To be compiled without optimizing: with frame pointers.
#include "waiting.h"

#include <sys/syscall.h>

#define STACKS 300
#define DEPTH 9

static __attribute__((noinline)) void even(unsigned path, int depth);
static __attribute__((noinline)) void odd(unsigned path, int depth);

static __attribute__((noinline)) void step(unsigned path, int depth)
{
	if (!depth) {
		// Not by libc: its functions have no frame pointers.
		long number = SYS_getppid, result;

		asm volatile("syscall" : "=a"(result) : "a"(number) : "rcx", "r11", "memory");
	} else if (path & 1) {
		odd(path >> 1, depth - 1);
	} else {
		even(path >> 1, depth - 1);
	}
	// What comes behind a call keeps it from being a jump.
	asm volatile("");
}

static void even(unsigned path, int depth)
{
	step(path, depth);
	asm volatile("");
}

static void odd(unsigned path, int depth)
{
	step(path, depth);
	asm volatile("");
}

int main(int argc, char **argv)
{
	long rounds = argc > 1 ? atol(argv[1]) : 1;

	begin(argc > 2 ? atoi(argv[2]) : 0);
	while (rounds--)
		for (unsigned path = 0; path < STACKS; path++)
			step(path, DEPTH);
	end();
	return 0;
}
