// Does what sampled events count, a known number of times. Writes its pid and the addresses
// of `watched`, of `bump`, of `spin`, and of a region of PAGES pages that it has not touched.
// Then it takes commands, a letter and a number, and writes "done" after each:
//   t N  touch N pages of the region, one by one, from where the last touch ended
//   w N  write to `watched` N times      r N  read it N times      b N  call bump() N times
//   m N  move to another CPU N times     n N  sleep N times        s N  spin for N ms of CPU
//   f N  have a child touch N pages      g N  write `watched` with a known stack, N times
#define _GNU_SOURCE
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PAGES 65536
#define PAGE 4096

volatile uint64_t watched;
volatile char *region;
size_t touched;

__attribute__((noinline)) void bump(void)
{
	asm volatile("nop");
}

__attribute__((noinline)) void spin(long ms)
{
	struct timespec from, now;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &from);
	do {
		for (volatile int i = 0; i < 200000; i++)
			;
		clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
	} while ((now.tv_sec - from.tv_sec) * 1000 + (now.tv_nsec - from.tv_nsec) / 1000000 < ms);
}

static void touch(long count)
{
	while (count--)
		region[touched++ * PAGE] = 1;
}

__attribute__((noinline)) static void known_stack(void)
{
	volatile uint64_t marks[8];

	for (int i = 0; i < 8; i++)
		marks[i] = 0x6b6e6f776e000000 + i;
	watched = marks[3];
	// A call: a function without one keeps its variables below the stack's pointer.
	bump();
}

static void move(long count)
{
	cpu_set_t cpus;

	while (count--) {
		CPU_ZERO(&cpus);
		CPU_SET(!sched_getcpu(), &cpus);
		sched_setaffinity(0, sizeof(cpus), &cpus);
	}
}

static void nap(long count)
{
	struct timespec moment = {0, 1000000};

	while (count--)
		nanosleep(&moment, NULL);
}

static void have_child_touch(long count)
{
	pid_t child = fork();

	if (!child) {
		touch(count);
		_exit(0);
	}
	waitpid(child, NULL, 0);
}

int main(void)
{
	char line[64];
	volatile uint64_t sum = 0;

	region = mmap(NULL, (size_t)PAGES * PAGE, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	madvise((void *)region, (size_t)PAGES * PAGE, MADV_NOHUGEPAGE);
	printf("%d %lu %lu %lu %lu\n", getpid(), (unsigned long)&watched, (unsigned long)bump,
	       (unsigned long)spin, (unsigned long)region);
	fflush(stdout);
	while (fgets(line, sizeof(line), stdin)) {
		long count = atol(line + 1);

		switch (line[0]) {
		case 't': touch(count); break;
		case 'w': while (count--) watched = count; break;
		case 'r': while (count--) sum += watched; break;
		case 'b': while (count--) bump(); break;
		case 'm': move(count); break;
		case 'n': nap(count); break;
		case 's': spin(count); break;
		case 'f': have_child_touch(count); break;
		case 'g': while (count--) known_stack(); break;
		}
		printf("done\n");
		fflush(stdout);
	}
	return 0;
}
