// What programs of tests have in common that a test starts, and lets go when it is
// ready to see them: `begin` writes the pid and waits for a line on standard input,
// `end` writes "done" and waits for the end of standard input.
#define _GNU_SOURCE
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

// On one CPU; on any for -1.
static inline void begin(int cpu)
{
	cpu_set_t cpus;
	char line[64];

	CPU_ZERO(&cpus);
	if (cpu >= 0) {
		CPU_SET(cpu, &cpus);
		if (sched_setaffinity(0, sizeof(cpus), &cpus))
			exit(1);
	}
	printf("%d\n", getpid());
	fflush(stdout);
	if (!fgets(line, sizeof(line), stdin))
		exit(0);
}

static inline void end(void)
{
	char line[64];

	printf("done\n");
	fflush(stdout);
	while (fgets(line, sizeof(line), stdin))
		;
}
