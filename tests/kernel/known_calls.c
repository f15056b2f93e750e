/* Makes a known number of two system calls that nothing else makes, one of which fails. */

#include <unistd.h>

int main(void)
{
	for (int i = 0; i < 300; i++)
		getppid();
	for (int i = 0; i < 200; i++)
		rmdir("/nothing");
	return 0;
}
