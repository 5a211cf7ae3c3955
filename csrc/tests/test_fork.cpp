#include <sys/wait.h>
#include <unistd.h>

#include "check.h"
#include "kmeans.h"
#include "parallel.h"

namespace {

using std::size_t;

std::vector<std::int32_t> labels_of_noise(int n_threads) {
  check::Draw draw(6);
  const std::vector<float> words = draw.normals(100 * 13), frames = draw.normals(4000 * 13);
  std::vector<std::int32_t> labels(4000);
  dcbmr::NearestWord(words.data(), 100, 13)
      .assign(frames.data(), 4000, labels.data(), nullptr, n_threads);
  return labels;
}

// GNU OpenMP hangs in a child whose parent has used threads.
void child_of_fork_has_the_same_bits() {
  const std::vector<std::int32_t> labels = labels_of_noise(3);
  CHECK(!dcbmr::forked());
  const pid_t child = fork();
  if (child == 0) {
    alarm(20);
    _exit(labels_of_noise(3) == labels && dcbmr::forked() ? 0 : 1);
  }
  int status = -1;
  CHECK(waitpid(child, &status, 0) == child);
  CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

}  // namespace

TESTS(child_of_fork_has_the_same_bits)
