// A C++ program whose functions are probed: it says "PID", reads a line, calls them, ends.
#include <cstdio>
#include <unistd.h>

namespace shapes {

class Square {
public:
	explicit Square(int side) : side_(side) {}
	__attribute__((noinline)) int scaled(int by, const char *unit) const;
	__attribute__((noinline)) int scaled(long by) const;

private:
	int side_;
};

int Square::scaled(int by, const char *unit) const
{
	return side_ * by + unit[0];
}

int Square::scaled(long by) const
{
	return side_ * by;
}

template <typename T> __attribute__((noinline)) T twice(T value)
{
	return value + value;
}

} // namespace shapes

int main(int argc, char **)
{
	char line[16];
	shapes::Square square(argc + 2);

	std::printf("%d\n", getpid());
	std::fflush(stdout);
	if (!std::fgets(line, sizeof(line), stdin))
		return 1;
	return square.scaled(4, "cm") + square.scaled(5L) + shapes::twice(21) == 0;
}
