// Two threads that give one CPU to each other COUNT times, at 100,000 events of
// sched_switch a second where the machine is fast enough. `switches COUNT CPU`.
// To be compiled without optimizing. As calls.c otherwise.
#include "waiting.h"

#include <pthread.h>
#include <time.h>

#define PACE 20000

static long count;
static long given;
static long due;

static long now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * 1000000000 + time.tv_nsec;
}

static void *give(void *unused)
{
	while (given < count) {
		while (now() < due)
			;
		due += PACE;
		given++;
		sched_yield();
	}
	return 0;
}

int main(int argc, char **argv)
{
	pthread_t other;

	count = argc > 1 ? atol(argv[1]) : 1000;
	begin(argc > 2 ? atoi(argv[2]) : 0);
	due = now();
	if (pthread_create(&other, 0, give, 0))
		return 1;
	give(0);
	pthread_join(other, 0);
	end();
	return 0;
}
