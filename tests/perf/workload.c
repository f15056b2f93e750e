/* What recordings are made of: workload MODE COUNT does COUNT steps of one kind. */
#include <linux/futex.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static volatile long sink;

__attribute__((noinline)) static void innermost(long rounds)
{
	for (long i = 0; i < rounds; i++)
		sink += i;
}

__attribute__((noinline)) static void middle(long rounds)
{
	innermost(rounds);
	sink++;
}

__attribute__((noinline)) void outermost(long rounds)
{
	middle(rounds);
	sink++;
}

/* COUNT times a millisecond or so of the CPU, three calls deep. */
static void spin(long count)
{
	for (long i = 0; i < count; i++)
		outermost(400000);
}

/* COUNT system calls. */
static void calls(long count)
{
	for (long i = 0; i < count; i++)
		getppid();
}

/* Touches COUNT fresh pages. */
static void touch(long count)
{
	long size = count * sysconf(_SC_PAGESIZE);
	char *pages = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (pages == MAP_FAILED)
		exit(1);
	for (long i = 0; i < size; i += sysconf(_SC_PAGESIZE))
		pages[i] = 1;
	munmap(pages, size);
}

/* COUNT children, every second of which executes another program. */
static void children(long count)
{
	for (long i = 0; i < count; i++) {
		pid_t child = fork();

		if (child == 0) {
			if (i % 2)
				execl("/bin/true", "true", NULL);
			_exit(3);
		}
		waitpid(child, NULL, 0);
	}
}

/* COUNT waits for a lock that nobody releases. */
static void futexes(long count)
{
	static int locks[3];
	struct timespec patience = {.tv_nsec = 200000};

	for (long i = 0; i < count; i++)
		syscall(SYS_futex, &locks[i % 3], FUTEX_WAIT, 0, &patience, NULL, 0);
}

static const struct {
	const char *name;
	void (*run)(long count);
} modes[] = {{"spin", spin}, {"calls", calls}, {"touch", touch}, {"children", children},
	     {"futexes", futexes}};

/* workload MODE COUNT [MODE COUNT]... */
int main(int argc, char **argv)
{
	for (int i = 1; i + 1 < argc; i += 2)
		for (size_t m = 0; m < sizeof(modes) / sizeof(modes[0]); m++)
			if (strcmp(argv[i], modes[m].name) == 0)
				modes[m].run(atol(argv[i + 1]));
	return 0;
}
