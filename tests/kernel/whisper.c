// Does a little of everything, all of it marked as one user's: `whisper FOLDER`. Paths, names,
// contents and functions have the word TAG, numbers begin with MARK, memory is at PLACE. It
// writes its pid and those of its children, and works until its standard input has something.
#define _GNU_SOURCE
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define TEXT2(word) #word
#define TEXT(word) TEXT2(word)
#define NAME2(tag, name) tag##_##name
#define NAME1(tag, name) NAME2(tag, name)
#define NAME(name) NAME1(TAG, name)
#define PAGES 16

static void nothing(int signal)
{
}

static void files(const char *folder)
{
	char path[4096], other[4096 + 8];
	int file;

	snprintf(path, sizeof(path), "%s/" TEXT(TAG) "-file", folder);
	snprintf(other, sizeof(other), "%s-2", path);
	open("/" TEXT(TAG) "-is-not-there", O_RDONLY);
	file = open(path, O_RDWR | O_CREAT, 0600);
	if (file >= 0) {
		write(file, TEXT(TAG), sizeof(TEXT(TAG)));
		lseek(file, MARK >> 8, SEEK_SET);
		close(file);
	}
	rename(path, other);
	unlink(other);
}

static void memory(void)
{
	char *place = mmap((void *)PLACE, PAGES * 4096, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);

	for (int i = 0; place != MAP_FAILED && i < PAGES; i++)
		strcpy(place + i * 4096, TEXT(TAG));
	munmap((void *)PLACE, PAGES * 4096);
}

static void talk(void)
{
	int pair[2];
	char text[64];

	if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair))
		return;
	send(pair[0], TEXT(TAG), sizeof(TEXT(TAG)), 0);
	recv(pair[1], text, sizeof(text), 0);
	close(pair[0]);
	close(pair[1]);
	kill(getpid(), SIGUSR1);
}

static void others(int round)
{
	struct timespec moment = { 0, 1000 };
	pid_t child;

	sched_yield();
	clock_nanosleep(CLOCK_MONOTONIC, 0, &moment, NULL);
	prctl(PR_SET_NAME, round & 1 ? TEXT(TAG) "-odd" : TEXT(TAG) "-even");
	child = fork();
	if (!child) {
		syscall(SYS_getppid, MARK + round, PLACE);
		if (round & 1)
			_exit(0);
		execl("/bin/true", TEXT(TAG), NULL);
		_exit(1);
	}
	printf("%d\n", child);
	wait(NULL);
}

// The function of the stacks, and of a probe.
__attribute__((noinline)) void NAME(secret)(long round)
{
	// Arguments that the call does not look at, and that its events have.
	for (int i = 0; i < 400; i++)
		syscall(SYS_lseek, -1, MARK + round, PLACE);
}

int main(int argc, char **argv)
{
	struct pollfd input = { 0, POLLIN };

	signal(SIGUSR1, nothing);
	prctl(PR_SET_NAME, TEXT(TAG) "-even");
	printf("%d\n", getpid());
	fflush(stdout);
	for (long round = 0; argc > 1 && poll(&input, 1, 0) == 0; round++) {
		NAME(secret)(round);
		if (round % 8)
			continue;
		files(argv[1]);
		memory();
		talk();
		others(round / 8);
	}
	return 0;
}
