// Processes that come and go: `churn RATE CPU` starts RATE a second, each of which runs this
// program anew and ends at once, until standard input ends; then tells how many there were.
#define _GNU_SOURCE
#include <poll.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>

extern char **environ;

static void next(struct timespec *at, long period)
{
	at->tv_nsec += period;
	if (at->tv_nsec >= 1000000000) {
		at->tv_nsec -= 1000000000;
		at->tv_sec++;
	}
	clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, at, 0);
}

int main(int argc, char **argv)
{
	long rate = argc > 1 ? atol(argv[1]) : 0, count = 0;
	char *child[] = {argv[0], 0};
	struct pollfd input = {.fd = 0, .events = POLLIN};
	struct timespec at;

	if (argc == 1)
		return 0;
	clock_gettime(CLOCK_MONOTONIC, &at);
	puts("started");
	fflush(stdout);
	while (poll(&input, 1, 0) == 0) {
		pid_t pid;

		if (posix_spawn(&pid, "/proc/self/exe", 0, 0, child, environ))
			return 1;
		while (waitpid(-1, 0, WNOHANG) > 0)
			;
		count++;
		next(&at, 1000000000 / rate);
	}
	while (wait(0) > 0)
		;
	printf("%ld\n", count);
	return 0;
}
