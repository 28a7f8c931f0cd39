// boost::unordered_map<u64, u64> in a segment. Keys are mix(i): distinct, in no order; lookups go through them in
// another order.
#include "segment.hpp"
#include <boost/unordered_map.hpp>

using namespace bench;
using Map = boost::unordered_map<u64, u64, boost::hash<u64>, std::equal_to<u64>, Alloc<std::pair<const u64, u64>>>;
using Held = HashInSegment<Map>;

static void fill(Map& m, u64 n) {
  for (u64 i = 0; i < n; ++i) m.emplace(mix(i), i);
}

int main(int argc, char** argv) {
  return serve(argc, argv, [] {
    const u64 n = scaled(1000000);
    // Built when the first case that only reads asks for it.
    auto built = std::make_shared<std::unique_ptr<Held>>();
    auto full = [n, built]() -> Map& {
      if (!*built) {
        *built = std::make_unique<Held>();
        fill(***built, n);
      }
      return ***built;
    };
    Cases c;
    c["boost insert"] = [n]() -> Run {
      arena();
      return [n] {
        Held held;
        const Sample s = timed(n, [&] { fill(*held, n); });
        check((*held).size() == n, "wrong size");
        return s;
      };
    };
    c["boost find hit"] = [n, full]() -> Run {
      full();
      return [n, full] {
        const Map& m = full();
        return timed(n, [&] {
          u64 sum = 0;
          Rng r{99};
          for (u64 i = 0; i < n; ++i) sum += m.find(mix(r.below(n)))->second;
          keep(sum);
        });
      };
    };
    c["boost find miss"] = [n, full]() -> Run {
      full();
      return [n, full] {
        const Map& m = full();
        u64 found = 0;
        const Sample s = timed(n, [&] {
          Rng r{99};
          for (u64 i = 0; i < n; ++i) found += m.find(mix(n + r.below(n))) != m.end();
          keep(found);
        });
        check(found == 0, "found what is not there");
        return s;
      };
    };
    c["boost iterate"] = [n, full]() -> Run {
      full();
      return [n, full] {
        const Map& m = full();
        u64 sum = 0;
        const Sample s = timed(n, [&] {
          for (const auto& kv : m) sum += kv.second;
          keep(sum);
        });
        check(sum == n * (n - 1) / 2, "wrong sum");
        return s;
      };
    };
    c["boost remove"] = [n]() -> Run {
      arena();
      return [n] {
        Held held;
        fill(*held, n);
        const Sample s = timed(n, [&] {
          for (u64 i = 0; i < n; ++i) (*held).erase(mix(i));
        });
        check((*held).empty(), "something is left");
        return s;
      };
    };
    return c;
  });
}
