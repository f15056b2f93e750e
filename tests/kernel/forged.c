// Runs with a stack that it has made up: where its frames should return to stand the mark with which
// perf begins the kernel's part of a chain, and then the address that is the program's argument.
// Writes its pid; for a line of input it spins for half a second of CPU, and writes "done".
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define PERF_CONTEXT_KERNEL ((uint64_t)-128)

struct frame {
	struct frame *next;
	uint64_t return_address;
};

static void spin(struct frame *made_up, long turns)
{
#if defined(__x86_64__)
	asm volatile("push %%rbp\n mov %0, %%rbp\n 1: dec %1\n jnz 1b\n pop %%rbp\n"
		     : "+r"(made_up), "+r"(turns) : : "memory", "cc");
#elif defined(__aarch64__)
	asm volatile("mov x9, x29\n mov x29, %0\n 1: subs %1, %1, #1\n b.ne 1b\n mov x29, x9\n"
		     : "+r"(made_up), "+r"(turns) : : "x9", "memory", "cc");
#endif
}

int main(int argc, char **argv)
{
	struct frame frames[2] = {
		{&frames[1], PERF_CONTEXT_KERNEL},
		{(struct frame *)1, strtoull(argv[argc - 1], NULL, 16)},
	};
	char line[64];

	printf("%d\n", getpid());
	fflush(stdout);
	while (fgets(line, sizeof(line), stdin)) {
		clock_t end = clock() + CLOCKS_PER_SEC / 2;

		while (clock() < end)
			spin(frames, 50000000);
		printf("done\n");
		fflush(stdout);
	}
	return 0;
}
