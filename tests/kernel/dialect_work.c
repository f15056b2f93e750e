// Does things that scripts for perf show: `dialect_work` makes system calls that succeed and
// that fail, waits for futexes, sends packets to itself and into the void, compacts memory where
// it may, forks, and touches new pages. It begins and ends like calls.c.
#include "waiting.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

static int word;

static void fail(void)
{
	for (int i = 0; i < 5; i++)
		close(-1);
	for (int i = 0; i < 3; i++)
		open("/nonexistent/file", O_RDONLY);
}

static void wait_for_nobody(void)
{
	struct timespec moment = { .tv_nsec = 1000000 };

	for (int i = 0; i < 4; i++)
		syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, 0, &moment, NULL, 0);
}

static void send_packets(void)
{
	struct sockaddr_in own = { .sin_family = AF_INET }, closed;
	socklen_t size = sizeof(own);
	int sender = socket(AF_INET, SOCK_DGRAM, 0), receiver = socket(AF_INET, SOCK_DGRAM, 0);
	char data[100] = "";

	own.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (bind(receiver, (void *)&own, size) || getsockname(receiver, (void *)&own, &size))
		exit(1);
	for (int i = 0; i < 7; i++) {
		sendto(sender, data, sizeof(data), 0, (void *)&own, size);
		recv(receiver, data, sizeof(data), 0);
	}
	closed = own;
	close(receiver);
	for (int i = 0; i < 6; i++)
		sendto(sender, data, sizeof(data), 0, (void *)&closed, size);
	close(sender);
}

static void compact(void)
{
	int file = open("/proc/sys/vm/compact_memory", O_WRONLY);

	if (file >= 0 && write(file, "1", 1) != 1)
		exit(1);
	close(file);
}

__attribute__((noinline)) static void touch(void)
{
	size_t page = 4096, pages = 50;
	char *memory = mmap(NULL, pages * page, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (memory == MAP_FAILED)
		exit(1);
	for (size_t i = 0; i < pages; i++)
		memory[i * page] = 1;
	munmap(memory, pages * page);
}

int main(void)
{
	begin(-1);
	touch();
	for (int i = 0; i < 1000; i++)
		syscall(SYS_getppid);
	fail();
	wait_for_nobody();
	send_packets();
	compact();
	if (!fork()) {
		for (int i = 0; i < 10; i++)
			syscall(SYS_getppid);
		_exit(0);
	}
	wait(NULL);
	end();
	return 0;
}
