// boost::container::vector<u64> in a segment.
#include "segment.hpp"
#include <boost/container/vector.hpp>

using namespace bench;
using Vector = boost::container::vector<u64, Alloc<u64>>;

static void fill(Vector& v, u64 n) {
  for (u64 i = 0; i < n; ++i) v.push_back(i);
}

int main(int argc, char** argv) {
  return serve(argc, argv, [] {
    const u64 n = scaled(10000000);
    Cases c;
    c["boost push touched"] = [n]() -> Run {
      arena();
      return [n] {
        InSegment<Vector> held;
        const Sample s = timed(n, [&] { fill(*held, n); });
        check((*held).size() == n && (*held)[n - 1] == n - 1, "wrong contents");
        return s;
      };
    };
    c["boost iterate"] = [n]() -> Run {
      auto held = std::make_shared<InSegment<Vector>>();
      fill(**held, n);
      return [n, held] {
        u64 sum = 0;
        const Sample s = timed(n, [&] {
          for (u64 x : **held) sum += x;
          keep(sum);
        });
        check(sum == n * (n - 1) / 2, "wrong sum");
        return s;
      };
    };
    return c;
  });
}
