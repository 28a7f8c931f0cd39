// boost::container::basic_string in a segment, and a map from strings to vectors.
#include "segment.hpp"
#include <boost/container/map.hpp>
#include <boost/container/string.hpp>
#include <boost/container/vector.hpp>
#include <string_view>

using namespace bench;
namespace bc = boost::container;

using String = bc::basic_string<char, std::char_traits<char>, Alloc<char>>;
using Strings = bc::vector<String, Alloc<String>>;
using Numbers = bc::vector<u64, Alloc<u64>>;

struct ByText {  // lets find() take a std::string_view without building a string
  using is_transparent = void;
  template <class S> static std::string_view view(const S& s) { return {s.data(), s.size()}; }
  template <class A, class B> bool operator()(const A& a, const B& b) const { return view(a) < view(b); }
};
using Map = bc::map<String, Numbers, ByText, Alloc<std::pair<const String, Numbers>>>;

static String make(std::string_view s) { return String(s.data(), s.size(), arena().get_segment_manager()); }

static const std::string& text(u64 n) {  // all the strings, one after another
  static const std::string t = [&] {
    std::string t;
    char buf[48];
    for (u64 i = 0; i < n; ++i) {
      snprintf(buf, sizeof buf, "a string of forty bytes %016llx", (unsigned long long)mix(i));
      t += buf;
    }
    return t;
  }();
  return t;
}

static const std::vector<std::string>& keys(u64 n) {  // 28 bytes: longer than every small-string buffer
  static const std::vector<std::string> k = [&] {
    std::vector<std::string> k;
    char buf[40];
    for (u64 i = 0; i < n; ++i) {
      snprintf(buf, sizeof buf, "user:%016llx:vector", (unsigned long long)mix(i));
      k.emplace_back(buf);
    }
    return k;
  }();
  return k;
}

static void fill(Strings& v, u64 n) {
  const std::string_view t = text(n);
  for (u64 i = 0; i < n; ++i) v.push_back(make(t.substr(40 * i, 40)));
}

static void fill(Map& m, u64 n) {
  const auto& k = keys(n);
  for (u64 i = 0; i < n; ++i) {
    auto& v = m.try_emplace(make(k[i]), Numbers(arena().get_segment_manager())).first->second;
    for (u64 j = 0; j < 4; ++j) v.push_back(i + j);
  }
}

int main(int argc, char** argv) {
  return serve(argc, argv, [] {
    const u64 n = scaled(500000), m = scaled(200000);
    Cases c;
    c["boost build 40 B"] = [n]() -> Run {
      arena();
      text(n);
      return [n] {
        InSegment<Strings> held;
        return timed(n, [&] { fill(*held, n); });
      };
    };
    c["boost compare 40 B"] = [n]() -> Run {
      auto held = std::make_shared<InSegment<Strings>>();
      fill(**held, n);
      return [n, held] {
        const Strings& v = **held;
        return timed(n - 1, [&] {
          u64 less = 0;
          for (u64 i = 1; i < n; ++i) less += v[i - 1] < v[i];
          keep(less);
        });
      };
    };
    c["boost push char"] = []() -> Run {
      arena();
      return [] {
        const u64 bytes = scaled(10000000);
        auto s = make("");
        const Sample t = timed(bytes, [&] {
          for (u64 i = 0; i < bytes; ++i) s.push_back(char('a' + i % 26));
          keep(s.size());
        });
        check(s.size() == bytes, "wrong length");
        return t;
      };
    };
    c["boost map build"] = [m]() -> Run {
      arena();
      keys(m);
      return [m] {
        InSegment<Map> held;
        const Sample s = timed(m, [&] { fill(*held, m); });
        check((*held).size() == m, "wrong size");
        return s;
      };
    };
    c["boost map find"] = [m]() -> Run {
      auto held = std::make_shared<InSegment<Map>>();
      fill(**held, m);
      return [m, held] {
        const Map& map = **held;
        const auto& k = keys(m);
        return timed(m, [&] {
          u64 sum = 0;
          Rng r{5};
          for (u64 i = 0; i < m; ++i) sum += map.find(std::string_view(k[r.below(m)]))->second.back();
          keep(sum);
        });
      };
    };
    c["boost map clear"] = [m]() -> Run {
      arena();
      return [m] {
        InSegment<Map> held;
        fill(*held, m);
        return timed(m, [&] { (*held).clear(); });
      };
    };
    return c;
  });
}
