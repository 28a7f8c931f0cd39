// Named objects of a managed segment with the default index.
#include "segment.hpp"

using namespace bench;

struct Named {
  std::string file;
  Segment segment;
  std::vector<std::string> all;

  Named(const char* label, u64 n)
      : file((bip::shared_memory_object::remove(own_name(label).c_str()), own_name(label))),
        segment(bip::create_only, file.c_str(), size_t(n > 10000 ? 128 : 16) << 20) {
    bip::shared_memory_object::remove(file.c_str());
    touch_pages(segment.get_address(), segment.get_size());
    char buf[32];
    for (u64 i = 0; i < n; ++i) {
      snprintf(buf, sizeof buf, "object_%08llu", (unsigned long long)i);
      all.emplace_back(buf);
    }
    // In no order, as objects of a long-lived segment are.
    std::vector<u64> order(n);
    for (u64 i = 0; i < n; ++i) order[i] = i;
    std::sort(order.begin(), order.end(), [](u64 a, u64 b) { return mix(a) < mix(b); });
    for (u64 i : order) segment.construct<u64>(all[i].c_str())(i);
  }
};

static void add(Cases& c, const std::string& label, const char* id, u64 n) {
  auto built = std::make_shared<std::unique_ptr<Named>>();
  auto named = [built, id, n]() -> Named& {
    if (!*built) *built = std::make_unique<Named>(id, n);
    return **built;
  };
  const u64 ops = scaled(200000);
  c["boost find " + label] = [named, ops]() -> Run {
    named();
    return [named, ops] {
      Named& d = named();
      return timed(ops, [&] {
        u64 sum = 0;
        Rng r{3};
        for (u64 i = 0; i < ops; ++i) sum += *d.segment.find<u64>(d.all[r.below(d.all.size())].c_str()).first;
        keep(sum);
      });
    };
  };
  c["boost find_or_construct hit " + label] = [named, ops]() -> Run {
    named();
    return [named, ops] {
      Named& d = named();
      return timed(ops, [&] {
        u64 sum = 0;
        Rng r{3};
        for (u64 i = 0; i < ops; ++i) sum += *d.segment.find_or_construct<u64>(d.all[r.below(d.all.size())].c_str())(0);
        keep(sum);
      });
    };
  };
  c["boost construct + destroy " + label] = [named, ops]() -> Run {
    named();
    return [named, ops] {
      Named& d = named();
      return timed(ops, [&] {
        for (u64 i = 0; i < ops; ++i) {
          keep(*d.segment.construct<u64>("one more object")(i));
          d.segment.destroy<u64>("one more object");
        }
      });
    };
  };
}

int main(int argc, char** argv) {
  return serve(argc, argv, [] {
    Cases c;
    add(c, "10", "names-10", 10);
    add(c, "10 k", "names-10k", scaled(10000));
    add(c, "100 k", "names-100k", scaled(100000));
    return c;
  });
}
