// Making and opening a segment of 64 MiB with one named number in it.
#include "bench.hpp"
#include <boost/interprocess/managed_mapped_file.hpp>
#include <boost/interprocess/managed_shared_memory.hpp>

using namespace bench;
namespace bip = boost::interprocess;

constexpr size_t kSize = size_t(64) << 20;

struct Shm {
  using Segment = bip::managed_shared_memory;
  static std::string name() { return own_name("open"); }
  static void remove(const std::string& n) { bip::shared_memory_object::remove(n.c_str()); }
};

struct File {
  using Segment = bip::managed_mapped_file;
  static std::string name() {
    const char* dir = getenv("SHMEM_BENCHES_DIR");
    return std::string(dir ? dir : "/tmp") + "/" + own_name("open");
  }
  static void remove(const std::string& n) { bip::file_mapping::remove(n.c_str()); }
};

template <class Kind> struct Existing {
  std::string name = Kind::name() + "-existing";
  std::unique_ptr<typename Kind::Segment> segment;
  Existing() {
    Kind::remove(name);
    segment = std::make_unique<typename Kind::Segment>(bip::create_only, name.c_str(), kSize);
    segment->template construct<u64>("root")(42);
  }
  ~Existing() { Kind::remove(name); }
};

template <class Kind> void add(Cases& c, const std::string& label) {
  const u64 times = g_quick ? 2 : 10;
  c["boost create " + label] = [times]() -> Run {
    return [times] {
      const std::string name = Kind::name();
      u64 ns = 0;
      for (u64 i = 0; i < times; ++i) {
        Kind::remove(name);
        const u64 t0 = now_ns();
        typename Kind::Segment s(bip::create_only, name.c_str(), kSize);
        u64* root = s.template construct<u64>("root")(42);
        keep(*root);
        ns += now_ns() - t0;
      }
      Kind::remove(name);
      return Sample{ns, times};
    };
  };
  c["boost open " + label] = [times]() -> Run {
    auto existing = std::make_shared<Existing<Kind>>();
    return [existing, times] {
      const u64 n = times * 10;
      u64 ns = 0, sum = 0;
      for (u64 i = 0; i < n; ++i) {
        const u64 t0 = now_ns();
        typename Kind::Segment s(bip::open_only, existing->name.c_str());
        sum += *s.template find<u64>("root").first;
        ns += now_ns() - t0;
      }
      check(sum == 42 * n, "wrong root");
      return Sample{ns, n};
    };
  };
}

int main(int argc, char** argv) {
  return serve(argc, argv, [] {
    Cases c;
    add<Shm>(c, "shm");
    add<File>(c, "file");
    return c;
  });
}
