// Processes that live 5 ms each, COUNT of them, one on each CPU at a time:
// `shortlived COUNT CPU`, of which the CPU does not matter. As calls.c otherwise.
// To be compiled without optimizing: with frame pointers.
#include "waiting.h"

#include <spawn.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>

#define LIFE 5000000

extern char **environ;

static long now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * 1000000000 + time.tv_nsec;
}

static void spin(void)
{
	for (volatile int i = 0; i < 1000; i++)
		;
}

static void work(long end)
{
	while (now() < end)
		spin();
}

static void live(void)
{
	work(now() + LIFE);
}

int main(int argc, char **argv)
{
	long count = argc > 1 ? atol(argv[1]) : 100;
	int running = 0, most = sysconf(_SC_NPROCESSORS_ONLN);
	char *child[] = {argv[0], "live", 0};

	if (argc > 1 && !strcmp(argv[1], "live")) {
		live();
		return 0;
	}
	begin(-1);
	while (count--) {
		pid_t pid;

		if (running == most && wait(0) > 0)
			running--;
		if (posix_spawn(&pid, "/proc/self/exe", 0, 0, child, environ))
			return 1;
		running++;
	}
	while (wait(0) > 0)
		;
	end();
	return 0;
}
