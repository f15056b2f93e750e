/* Samples of many kinds of memory: places MILLISECONDS spends as much time in each. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define FUNCTION __attribute__((noinline, noclone))

static long limit;
static volatile long sink;
int table[4096 * 8] = {1};
static volatile char zeros[4096 * 8];

static long now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
	return time.tv_sec * 1000000000L + time.tv_nsec;
}

FUNCTION long step(long x) __asm__("_ZN5space5thingIiE4stepEl");
FUNCTION long step(long x)
{
	for (int i = 0; i < 3000; i++)
		x = x * 31 + table[i];
	return x;
}

FUNCTION static long rust(long x) __asm__("_ZN5crate6module4work17h0123456789abcdefE");
FUNCTION static long rust(long x)
{
	for (int i = 0; i < 3000; i++)
		x = x * 33 + table[i];
	return step(x) + 1;
}

__asm__(".text\n.globl sizeless\nsizeless:\n"
	"push %rbp\nmov %rsp,%rbp\nmov $3000,%rcx\n1: dec %rcx\njnz 1b\npop %rbp\nret\n");
void sizeless(void);

FUNCTION void own_code(void)
{
	for (long end = now() + limit; now() < end;) {
		sink += rust(end);
		sizeless();
	}
}

FUNCTION static void vdso(void)
{
	struct timespec time;

	for (long end = now() + limit; now() < end;)
		for (int i = 0; i < 500; i++)
			clock_gettime(CLOCK_MONOTONIC, &time);
}

FUNCTION static void libraries(void)
{
	static char text[20000], copy[20000];
	double sum = 0;

	for (long end = now() + limit; now() < end;) {
		memset(text, 'x', sizeof(text) - 1);
		strcpy(copy, text);
		sum += sin(sum) + strlen(copy);
	}
}

static void *thread(void *nothing)
{
	own_code();
	return nothing;
}

/* Code in anonymous memory: a loop of so many rounds as its argument says. */
FUNCTION static void jitted(void)
{
	static const unsigned char code[] = {
		0x55, 0x48, 0x89, 0xe5, 0x48, 0xff, 0xcf, 0x75, 0xfb, 0x5d, 0xc3,
	};
	unsigned char *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC,
				   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char path[64];
	FILE *file;

	memcpy(page, code, sizeof(code));
	snprintf(path, sizeof(path), "/tmp/perf-%d.map", getpid());
	file = fopen(path, "w");
	fprintf(file, "%lx %zx made at run time\n", (long)page, sizeof(code));
	fclose(file);
	for (long end = now() + limit; now() < end;)
		((void (*)(long))page)(10000);
}

FUNCTION static void touch(void)
{
	char *pages = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
			   -1, 0);

	for (int i = 0; i < 1 << 20; i += 4096)
		pages[i] = 1;
	for (size_t i = 0; i < sizeof(zeros); i += 4096)
		zeros[i] = 1;
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i += 1024)
		table[i]++;
	free(memset(malloc(100000), 1, 100000));
}

int main(int argc, char **argv)
{
	pthread_t other;

	limit = atol(argv[1]) * 1000000L;
	touch();
	own_code();
	vdso();
	libraries();
	jitted();
	pthread_create(&other, NULL, thread, NULL);
	pthread_join(other, NULL);
	if (fork() == 0) {
		prctl(PR_SET_NAME, "renamed");
		own_code();
		if (argc < 3)
			execl(argv[0], argv[0], argv[1], "again", NULL);
		_exit(0);
	}
	wait(NULL);
	return 0;
}
