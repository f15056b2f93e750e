// Calls getppid in a function NAME, then starts the program OTHER in its place, which
// does the same at the same address: `exec 1 CPU OTHER`. As calls.c otherwise. To be
// compiled without optimizing, as a static program at fixed addresses.
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

static __attribute__((noinline)) void NAME(void)
{
	long number = SYS_getppid, result;

	asm volatile("syscall" : "=a"(result) : "a"(number) : "rcx", "r11", "memory");
}

int main(int argc, char **argv)
{
	char line[64];

	if (argc > 3) {
		printf("%d\n", getpid());
		fflush(stdout);
		if (!fgets(line, sizeof(line), stdin))
			return 0;
		NAME();
		execl(argv[3], argv[3], (char *)0);
		return 1;
	}
	NAME();
	printf("done\n");
	fflush(stdout);
	while (fgets(line, sizeof(line), stdin))
		;
	return 0;
}
