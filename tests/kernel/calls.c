// Makes system calls that are easy to count: `calls COUNT CPU` makes COUNT getppid
// calls on one CPU. It writes its pid, waits for a line on standard input, makes the
// calls, writes "done", and waits for the end of standard input.
#include "waiting.h"

#include <sys/syscall.h>

int main(int argc, char **argv)
{
	long count = argc > 1 ? atol(argv[1]) : 1000;

	begin(argc > 2 ? atoi(argv[2]) : 0);
	while (count--)
		syscall(SYS_getppid);
	end();
	return 0;
}
