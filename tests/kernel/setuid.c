// A program that its owner, root, lets others run as root: `setuid COUNT`. It prints a
// secret and makes COUNT getppid calls; gives root up for good and makes COUNT more; has a
// child make COUNT more; prints the time, and becomes `calls COUNT`, an ordinary program.
#include "waiting.h"

#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

static void work(long count)
{
	volatile char *memory = malloc(64 * 4096);

	for (int i = 0; i < 64; i++)
		memory[i * 4096] = 1;
	while (count--)
		syscall(SYS_getppid);
}

int main(int argc, char **argv)
{
	static const char secret[] = "the secret of root\n";
	char calls[4096];
	uid_t user = getuid();
	ssize_t length = readlink("/proc/self/exe", calls, sizeof(calls) - 8);
	long count = atol(argv[1]);
	int out = dup(1);
	struct timespec now;

	begin(-1);
	if (geteuid() != 0 || length < 0)
		return 1;
	write(out, secret, sizeof(secret) - 1);
	work(count);
	if (setresuid(user, user, user))
		return 1;
	work(count);
	if (!fork()) {
		work(count);
		_exit(0);
	}
	wait(NULL);
	clock_gettime(CLOCK_MONOTONIC, &now);
	dprintf(out, "%lld\n", now.tv_sec * 1000000000LL + now.tv_nsec);
	calls[length] = 0;
	strcpy(strrchr(calls, '/'), "/calls");
	execl(calls, "calls", argv[1], "-1", NULL);
	return 1;
}
