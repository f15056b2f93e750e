// Does what the examples are about, a known number of times: `analysed COUNT CPU`, which is
// called as calls.c is. Each round it waits for a lock for 2 ms in wait_for_lock(), touches a
// new page in touch_page(), asks malloc for 1000 bytes, and spins for milliseconds in spin_hard().
// To be compiled without optimizing: with frame pointers, and every call as it stands.
#include "waiting.h"

#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#define PAGE 4096

static int lock;
static void *volatile allocated;
static atomic_long waiting;

// Not by libc's syscall(), whose frame would hide its caller's.
static long futex(int operation, int value)
{
	long result;
#ifdef __x86_64__
	register long timeout __asm__("r10") = 0;
	__asm__ volatile("syscall"
			 : "=a"(result)
			 : "a"(SYS_futex), "D"(&lock), "S"(operation), "d"(value), "r"(timeout)
			 : "rcx", "r11", "memory");
#else
	register long number __asm__("x8") = SYS_futex;
	register long address __asm__("x0") = (long)&lock;
	register long first __asm__("x1") = operation;
	register long second __asm__("x2") = value;
	register long timeout __asm__("x3") = 0;
	__asm__ volatile("svc 0"
			 : "+r"(address)
			 : "r"(number), "r"(first), "r"(second), "r"(timeout)
			 : "memory");
	result = address;
#endif
	return result;
}

static void wait_for_lock(void)
{
	waiting++;
	futex(FUTEX_WAIT_PRIVATE, 0);
}

// Gives the lock to each waiter in turn, to none that does not wait yet.
static void *give_locks(void *count)
{
	for (long round = 1; round <= (long)count; round++) {
		while (waiting < round)
			usleep(100);
		usleep(2000);
		while (futex(FUTEX_WAKE_PRIVATE, 1) != 1)
			usleep(100);
	}
	return NULL;
}

static void touch_page(volatile char *page)
{
	*page = 1;
}

static void spin_hard(void)
{
	for (volatile long i = 0; i < 8000000; i++)
		;
}

static void work(long count)
{
	char *area = mmap(NULL, count * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
			  -1, 0);

	madvise(area, count * PAGE, MADV_NOHUGEPAGE);
	for (long round = 0; round < count; round++) {
		wait_for_lock();
		touch_page(area + round * PAGE);
		allocated = malloc(1000);
		spin_hard();
	}
}

int main(int argc, char **argv)
{
	long count = argc > 1 ? atol(argv[1]) : 10;
	pthread_t giver;

	begin(argc > 2 ? atoi(argv[2]) : 0);
	if (pthread_create(&giver, NULL, give_locks, (void *)count))
		return 1;
	work(count);
	pthread_join(giver, NULL);
	end();
	return 0;
}
