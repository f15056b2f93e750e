// SPDX-License-Identifier: Apache-2.0
// Makes getppid() system calls on one CPU, for tracers to count.
//
//   producer CPU calls N        N calls as fast as they go
//   producer CPU rate N RATE    N calls, RATE a second, evenly spread
//   producer CPU spin SECONDS   calls as fast as they go for so long
//
// Says "ready" on standard output, waits for a byte on standard input, makes the
// calls, then prints how many they were and how long they took in ns.
#define _GNU_SOURCE
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define NS_PER_S 1000000000ULL
// Between two looks at the clock in spin mode.
#define SPIN_CALLS 1024

static uint64_t now(void)
{
	struct timespec time;

	// Answered by the vDSO, without a system call.
	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * NS_PER_S + time.tv_nsec;
}

static void call(uint64_t count)
{
	while (count--)
		syscall(SYS_getppid);
}

static void call_at_rate(uint64_t count, double per_second)
{
	double period = NS_PER_S / per_second;
	uint64_t start = now();

	for (uint64_t i = 0; i < count; i++) {
		while (now() < start + (uint64_t)(i * period))
			;
		syscall(SYS_getppid);
	}
}

static uint64_t call_for(double seconds)
{
	uint64_t end = now() + (uint64_t)(seconds * NS_PER_S);
	uint64_t count = 0;

	for (; now() < end; count += SPIN_CALLS)
		call(SPIN_CALLS);
	return count;
}

static int usage(void)
{
	fputs("usage: producer CPU calls N | CPU rate N RATE | CPU spin SECONDS\n", stderr);
	return 2;
}

int main(int argc, char **argv)
{
	cpu_set_t cpus;
	char byte;

	if (argc < 4 || (!strcmp(argv[2], "rate") && argc < 5))
		return usage();
	CPU_ZERO(&cpus);
	CPU_SET(atoi(argv[1]), &cpus);
	if (sched_setaffinity(0, sizeof(cpus), &cpus)) {
		perror("producer: sched_setaffinity");
		return 1;
	}
	puts("ready");
	fflush(stdout);
	if (read(0, &byte, 1) != 1)
		return 1;

	uint64_t count = strtoull(argv[3], NULL, 10);
	uint64_t start = now();

	if (!strcmp(argv[2], "calls"))
		call(count);
	else if (!strcmp(argv[2], "rate"))
		call_at_rate(count, atof(argv[4]));
	else if (!strcmp(argv[2], "spin"))
		count = call_for(atof(argv[3]));
	else
		return usage();
	printf("%llu %llu\n", (unsigned long long)count, (unsigned long long)(now() - start));
	return 0;
}
