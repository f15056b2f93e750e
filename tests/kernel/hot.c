// Spends 7, 2 and 1 of 10 parts of its time in three functions: `hot ROUNDS CPU`, of
// about 10 ms each. As calls.c otherwise. To be compiled without optimizing: with frame pointers.

#include "waiting.h"

#define PART 4000000

static void spin(volatile long count)
{
	while (count--)
		;
}

// Each spins by itself, so that the samples are its own.
static void hot(void)
{
	for (volatile long i = 0; i < 7 * PART; i++)
		;
}

static void warm(void)
{
	for (volatile long i = 0; i < 2 * PART; i++)
		;
}

static void cold(void)
{
	spin(PART);
}

static void outer(void)
{
	hot();
	warm();
	cold();
}

int main(int argc, char **argv)
{
	long rounds = argc > 1 ? atol(argv[1]) : 1;

	begin(argc > 2 ? atoi(argv[2]) : 0);
	while (rounds--)
		outer();
	end();
	return 0;
}
