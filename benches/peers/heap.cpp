// Raw blocks of a managed segment: its rbtree_best_fit, and the allocators of nodes on top of it. The workloads are
// those of src/blocks.
#include "bench.hpp"
#include <array>
#include <boost/container/slist.hpp>
#include <boost/interprocess/allocators/adaptive_pool.hpp>
#include <boost/interprocess/allocators/allocator.hpp>
#include <boost/interprocess/allocators/cached_node_allocator.hpp>
#include <boost/interprocess/allocators/node_allocator.hpp>
#include <boost/interprocess/managed_shared_memory.hpp>
#include <fstream>

using namespace bench;
namespace bip = boost::interprocess;
using Segment = bip::managed_shared_memory;  // rbtree_best_fit, with a mutex that processes share
using Manager = Segment::segment_manager;

// ---- the segment -------------------------------------------------------------------------------

// A segment's name, removed before and after use.
struct Name {
  std::string text;
  explicit Name(const char* what) : text(own_name(what)) { remove(); }
  ~Name() { remove(); }
  Name(const Name&) = delete;
  void remove() { bip::shared_memory_object::remove(text.c_str()); }
};

// One that only this process uses: its name is gone at once.
static std::unique_ptr<Segment> make_segment(size_t bytes, bool touched) {
  Name name("heap");
  auto s = std::make_unique<Segment>(bip::create_only, name.text.c_str(), bytes);
  if (touched) touch_pages(s->get_address(), s->get_size());
  return s;
}

static size_t arena_bytes() { return size_t(g_quick ? 64 : 1280) << 20; }
constexpr size_t kSmallArena = size_t(32) << 20;

// ---- blocks ------------------------------------------------------------------------------------

// rbtree_best_fit itself.
struct RbTree {
  Segment& segment;
  void* allocate(size_t bytes) { return segment.allocate(bytes); }
  void free(void* p) { segment.deallocate(p); }
};

// An allocator of nodes, for blocks of one size.
template <template <class> class A, size_t kBytes> struct Nodes {
  using Value = std::array<u64, kBytes / 8>;
  A<Value> allocator;
  explicit Nodes(Segment& s) : allocator(s.get_segment_manager()) {}
  void* allocate(size_t) { return bip::ipcdetail::to_raw_pointer(allocator.allocate_one()); }
  void free(void* p) { allocator.deallocate_one(typename A<Value>::pointer(static_cast<Value*>(p))); }
};

template <class T> using General = bip::allocator<T, Manager>;
template <class T> using Node = bip::node_allocator<T, Manager>;
template <class T> using CachedNode = bip::cached_node_allocator<T, Manager>;
template <class T> using Adaptive = bip::adaptive_pool<T, Manager>;

inline void write_ends(void* p, size_t bytes, unsigned char tag) {
  volatile unsigned char* c = static_cast<unsigned char*>(p);
  c[0] = tag;
  c[bytes - 1] = tag;
}
inline bool ends_are(void* p, size_t bytes, unsigned char tag) {
  volatile unsigned char* c = static_cast<unsigned char*>(p);
  return (c[0] == tag) & (c[bytes - 1] == tag);
}

template <class H> Sample pair64(H& heap, u64 ops) {
  u64 wrong = 0;
  const Sample s = timed(ops, [&] {
    for (u64 i = 0; i < ops; ++i) {
      void* p = heap.allocate(64);
      keep(p);
      write_ends(p, 64, (unsigned char)i);
      wrong += !ends_are(p, 64, (unsigned char)i);
      heap.free(p);
    }
  });
  check(wrong == 0, "a block was not as written");
  return s;
}

struct Sizes {
  u64 least, most;
};
constexpr Sizes kEqual{64, 64}, kDifferent{16, 1024};

// Live blocks, of which random ones are replaced. The bytes at the ends of the i-th are i.
class Live {
 public:
  Live(u64 n, Sizes sizes) : blocks_(n), sizes_(sizes) {
    for (auto& b : blocks_) b = {reinterpret_cast<char*>(8), 0};  // in memory before anything is measured
  }
  template <class H> void fill(H& heap) {
    for (u64 i = 0; i < blocks_.size(); ++i) put(heap, i);
  }
  template <class H> void replace(H& heap, u64 ops) {
    u64 wrong = 0;
    for (u64 n = 0; n < ops; ++n) {
      const u64 i = rng_.below(blocks_.size());
      wrong += !take(heap, i);
      put(heap, i);
    }
    check(wrong == 0, "a block was not as written");
  }
  template <class H> void clear(H& heap) {
    u64 wrong = 0;
    for (u64 i = 0; i < blocks_.size(); ++i) wrong += !take(heap, i);
    check(wrong == 0, "a block was not as written");
  }
  // The bytes asked for and not freed.
  u64 bytes() const {
    u64 sum = 0;
    for (const auto& b : blocks_) sum += b.bytes;
    return sum;
  }

 private:
  struct Block {
    void* at;
    uint32_t bytes;  // 0 if there is none
  };
  template <class H> void put(H& heap, u64 i) {
    const u64 bytes = sizes_.least + rng_.below(sizes_.most - sizes_.least + 1);
    void* p = heap.allocate(bytes);
    write_ends(p, bytes, (unsigned char)i);
    blocks_[i] = {p, uint32_t(bytes)};
  }
  template <class H> bool take(H& heap, u64 i) {
    Block& b = blocks_[i];
    if (b.bytes == 0) return true;
    const bool whole = ends_are(b.at, b.bytes, (unsigned char)i);
    b.bytes = 0;
    heap.free(b.at);
    return whole;
  }
  std::vector<Block> blocks_;
  Sizes sizes_;
  Rng rng_{1};
};

// ---- handing blocks over -----------------------------------------------------------------------

// A ring of blocks, as numbers that mean the same in every mapping, for one who puts and one who takes.
struct Ring {
  static constexpr u64 kBatch = 64, kPlaces = 4096;
  alignas(128) std::atomic<u64> taken{0};
  alignas(128) std::atomic<u64> put{0};
  alignas(128) std::atomic<u64> places[kPlaces] = {};
};

// One of the two: 0 allocates and puts, 1 takes and frees; each block holds which one it is.
struct Passing {
  Segment& segment;
  Ring& ring;
  u64 next = 0;

  void put() {
    if (next - ring.taken.load(std::memory_order_acquire) > Ring::kPlaces - Ring::kBatch) {
      cpu_relax();
      return;
    }
    for (u64 n = next; n < next + Ring::kBatch; ++n) {
      u64* words = static_cast<u64*>(segment.allocate(64));
      words[0] = n;
      words[7] = ~n;
      ring.places[n % Ring::kPlaces].store(u64(segment.get_handle_from_address(words)), std::memory_order_relaxed);
    }
    next += Ring::kBatch;
    ring.put.store(next, std::memory_order_release);
  }

  // Gives how many it has freed.
  u64 take() {
    if (ring.put.load(std::memory_order_acquire) == next) {
      cpu_relax();
      return 0;
    }
    bool wrong = false;
    for (u64 n = next; n < next + Ring::kBatch; ++n) {
      const u64 handle = ring.places[n % Ring::kPlaces].load(std::memory_order_relaxed);
      u64* words = static_cast<u64*>(segment.get_address_from_handle(Segment::handle_t(handle)));
      wrong |= words[0] != n || words[7] != ~n;
      segment.deallocate(words);
    }
    check(!wrong, "a block was not as written");
    next += Ring::kBatch;
    ring.taken.store(next, std::memory_order_release);
    return Ring::kBatch;
  }

  u64 step(int who) { return who == 0 ? (put(), 0) : take(); }
};

static void drain(Segment& segment, Ring& ring) {
  Passing rest{segment, ring, ring.taken};
  while (rest.take()) {}
  check(rest.next == ring.put, "a block is left in the ring");
}

static u64 run_ns() { return g_quick ? 10000000 : 150000000; }

// Calls `step`, which takes long enough that the clock does not count, until the time is over, which side 0 says; gives
// the sum of what it gave. Side 1 has to do something at all.
template <class Step> u64 until_over(int who, Meet& m, Step step) {
  u64 done = 0;
  m.start(who);
  while (!m.stop.load() || (who == 1 && done == 0 && !m.failed.load())) {
    done += step();
    if (who == 0 && now_ns() - m.begin[0] > run_ns()) m.stop.store(1);
  }
  return done;
}

// A segment for two processes, with the pages in the mapping of each: the first makes it before the second is forked.
class Joint {
 public:
  Joint() : made_(bip::create_only, name_.text.c_str(), kSmallArena) {}
  // The segment as one of them has it. The second opens it, as an unrelated program would, and then the name has been
  // of use: a process that dies with Boost's lock, or hangs because the other one did, leaves nothing behind.
  Segment& of(int who) {
    if (who == 1) {
      opened_ = std::make_unique<Segment>(bip::open_only, name_.text.c_str());
      name_.remove();
    }
    Segment& s = who == 1 ? *opened_ : made_;
    touch_pages(s.get_address(), s.get_size());
    return s;
  }

 private:
  Name name_{"heap"};
  Segment made_;
  std::unique_ptr<Segment> opened_;
};

// ---- the cases ---------------------------------------------------------------------------------

// The memory that this process has in its page tables.
static u64 resident_bytes() {
  std::ifstream in("/proc/self/smaps_rollup");
  for (std::string line; std::getline(in, line);)
    if (line.rfind("Rss:", 0) == 0) return std::strtoull(line.c_str() + 4, nullptr, 10) << 10;
  fail("no Rss in smaps_rollup");
}

static void add_replacing(Cases& c, const std::string& label, u64 n, Sizes sizes) {
  c["boost " + label] = [n, sizes]() -> Run {
    struct State {
      std::unique_ptr<Segment> segment = make_segment(arena_bytes(), true);
      RbTree heap{*segment};
      Live live;
      State(u64 n, Sizes sizes) : live(n, sizes) { live.fill(heap); }
    };
    auto it = std::make_shared<State>(n, sizes);
    return [it] {
      const u64 ops = scaled(1000000);
      return timed(ops, [&] { it->live.replace(it->heap, ops); });
    };
  };
}

template <class Make> void add_pair(Cases& c, const std::string& subject, Make make) {
  c[subject + " pair 64 B"] = [make]() -> Run {
    std::shared_ptr<Segment> segment = make_segment(kSmallArena, true);
    return [segment, make] {
      auto heap = make(*segment);
      return pair64(heap, scaled(1000000));
    };
  };
}

template <template <class> class A> void add_list(Cases& c, const std::string& subject) {
  c[subject + " list node"] = []() -> Run {
    using Value = std::array<u64, 3>;
    using List = boost::container::slist<Value, A<Value>>;
    std::shared_ptr<Segment> segment = make_segment(kSmallArena, true);
    return [segment] {
      const u64 times = scaled(1000), depth = 1000;
      List* list = segment->construct<List>(bip::anonymous_instance)(A<Value>(segment->get_segment_manager()));
      u64 sum = 0;
      const Sample s = timed(times * depth, [&] {
        for (u64 time = 0; time < times; ++time) {
          for (u64 i = 0; i < depth; ++i) list->push_front(Value{time + i, time + i, time + i});
          for (u64 i = 0; i < depth; ++i) {
            const Value& v = list->front();
            sum += v[0] + v[1] + v[2];
            list->pop_front();
          }
        }
      });
      check(list->empty(), "a node is left");
      segment->destroy_ptr(list);
      check(sum == 3 * (depth * times * (times - 1) / 2 + times * depth * (depth - 1) / 2), "a node was not as written");
      return s;
    };
  };
}

static Cases make_cases() {
  Cases c;
  c["boost fragmentation"] = []() -> Run {
    return [] {
      return in_child([] {
        auto segment = make_segment(arena_bytes(), false);
        RbTree heap{*segment};
        Live live(scaled(100000), kDifferent);
        const u64 before = resident_bytes();
        live.fill(heap);
        live.replace(heap, scaled(2000000));
        const u64 grown = resident_bytes() - before, part = live.bytes();
        check(part <= grown, "there is more in the blocks than memory");
        live.clear(heap);
        return Sample{part, grown};
      });
    };
  };
  add_pair(c, "boost", [](Segment& s) { return RbTree{s}; });
  add_pair(c, "boost-node", [](Segment& s) { return Nodes<Node, 64>(s); });
  add_pair(c, "boost-cached-node", [](Segment& s) { return Nodes<CachedNode, 64>(s); });
  add_pair(c, "boost-adaptive", [](Segment& s) { return Nodes<Adaptive, 64>(s); });
  add_replacing(c, "random 16-1024 B", scaled(10000), kDifferent);
  add_replacing(c, "live 1 k", scaled(1000), kEqual);
  add_replacing(c, "live 100 k", scaled(100000), kEqual);
  add_replacing(c, "live 10 M", scaled(10000000), kEqual);
  c["boost cross-free threads"] = []() -> Run {
    std::shared_ptr<Segment> segment = make_segment(kSmallArena, true);
    return [segment] {
      Ring ring;
      const Sample s = two_threads([&](int who, Meet& m) -> u64 {
        Passing it{*segment, ring};
        return until_over(who, m, [&] { return it.step(who); });
      });
      drain(*segment, ring);
      check(segment->check_sanity(), "the segment is damaged");
      return s;
    };
  };
  c["boost cross-free processes"] = []() -> Run {
    return [] {
      Joint joint;
      const Sample s = two_processes([&](int who, Meet& m) -> u64 {
        Segment& segment = joint.of(who);
        Passing it{segment, *segment.find_or_construct<Ring>("ring")()};
        return until_over(who, m, [&] { return it.step(who); });
      });
      Segment& segment = joint.of(0);
      drain(segment, *segment.find<Ring>("ring").first);
      check(segment.check_sanity(), "the segment is damaged");
      return s;
    };
  };
  c["boost two processes"] = []() -> Run {
    return [] {
      Joint joint;
      const Sample s = two_processes([&](int who, Meet& m) -> u64 {
        RbTree heap{joint.of(who)};
        Live live(scaled(1000), kDifferent);
        live.fill(heap);
        live.replace(heap, scaled(100000));
        const u64 done = until_over(who, m, [&] {
          live.replace(heap, 64);
          return u64(64);
        });
        m.over(who);
        live.clear(heap);
        return done;
      });
      check(joint.of(0).check_sanity(), "the segment is damaged");
      return s.of_each();
    };
  };
  add_list<General>(c, "boost");
  add_list<Node>(c, "boost-node");
  add_list<CachedNode>(c, "boost-cached-node");
  add_list<Adaptive>(c, "boost-adaptive");
  return c;
}

int main(int argc, char** argv) {
  std::thread([] {}).join();  // from here on glibc knows that there may be threads
  return serve(argc, argv, make_cases);
}
