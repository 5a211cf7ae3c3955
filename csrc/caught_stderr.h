// What C libraries write to stderr, caught for one thread at a time: libmpg123 speaks of damage
// nowhere else, and does not say in which file.
#pragma once

#include <string>

namespace dcbmr {

// Keeps from here on what this thread writes to C's stderr; nothing of it is shown. Other threads,
// and whoever writes to file descriptor 2 itself (Python, a crash), are not touched. Where the C
// library lends no such stream (only glibc's is known to), everything is shown as ever.
void catch_stderr();

// Ends that, and returns what was kept: the first few KiB.
std::string caught_stderr();

}  // namespace dcbmr
