// Calls looks_at() with an address that is given, then with one of its own text.
#include "waiting.h"

__attribute__((noinline)) void looks_at(const char *text)
{
	asm volatile("" : : "r"(text));
}

int main(int argc, char **argv)
{
	const char *given = (const char *)strtoull(argc > 1 ? argv[1] : "0", NULL, 0);

	begin(0);
	looks_at(given);
	looks_at("mine");
	end();
	return 0;
}
