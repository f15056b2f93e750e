// Makes system calls that are easy to count: `calls COUNT CPU` makes COUNT getppid
// calls on one CPU. It writes its pid, waits for a line on standard input, makes the
// calls, writes "done", and waits for the end of standard input.
#define _GNU_SOURCE
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	long count = argc > 1 ? atol(argv[1]) : 1000;
	cpu_set_t cpus;
	char line[64];

	CPU_ZERO(&cpus);
	CPU_SET(argc > 2 ? atoi(argv[2]) : 0, &cpus);
	if (sched_setaffinity(0, sizeof(cpus), &cpus))
		return 1;
	printf("%d\n", getpid());
	fflush(stdout);
	if (!fgets(line, sizeof(line), stdin))
		return 0;
	while (count--)
		syscall(SYS_getppid);
	printf("done\n");
	fflush(stdout);
	while (fgets(line, sizeof(line), stdin))
		;
	return 0;
}
